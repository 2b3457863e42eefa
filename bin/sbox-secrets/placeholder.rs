//! What the agent has in a key's place: programs look at a key's beginning and length before they use it.

use libsbox::model::secret::SHORTEST_PLACEHOLDER as SHORTEST;

/// Beginnings that programs and people know keys by, longest first. What follows is the key.
const BEGINNINGS: &[&str] = &[
    "sk-ant-api03-",
    "sk-ant-oat01-",
    "sk-ant-admin01-",
    "github_pat_",
    "sk-svcacct-",
    "sk-or-v1-",
    "sk-admin-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "sk-proj-",
    "sk_live_",
    "sk_test_",
    "sk-ant-",
    "glpat-",
    "pypi-",
    "dckr_pat_",
    "npm_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "xai-",
    "gsk_",
    "AIza",
    "AKIA",
    "ASIA",
    "pplx-",
    "hf_",
    "r8_",
    "sk-",
    "tvly-",
    "fw_",
    "nvapi-",
    "ya29.",
];

/// A text with the beginning and the length of `value` and nothing else of it. `before`: the one that it had, which stays as long
/// as it begins right: an agent may have kept it, as a login.
pub fn like(value: &str, before: Option<&str>) -> String {
    let beginning = BEGINNINGS.iter().filter(|begin| value.starts_with(**begin)).max_by_key(|begin| begin.len());
    let beginning = beginning.copied().unwrap_or_default();
    if let Some(before) = before.filter(|before| before.starts_with(beginning) && *before != value && is_plain(before))
    {
        let own = BEGINNINGS.iter().filter(|begin| before.starts_with(**begin)).max_by_key(|begin| begin.len());
        let rest = &before[beginning.len()..];
        // Not any text that a project came with: one that occurs elsewhere would have the key put there.
        let is_ours = rest.starts_with("SBOX") || is_hex(rest) && is_hex(&value[beginning.len()..]);
        if own.copied().unwrap_or_default() == beginning && before.len() >= SHORTEST && is_ours {
            return before.to_owned();
        }
    }
    let rest = &value[beginning.len()..];
    let is_hex = is_hex(rest);
    let letters: &[u8] =
        if is_hex { b"0123456789abcdef" } else { b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" };
    let length = rest.len().max(SHORTEST);
    // A person who sees it should know what it is.
    let mark = if is_hex { "" } else { "SBOX" };
    let mut out = format!("{beginning}{mark}");
    out.extend(random(length - mark.len()).into_iter().map(|byte| char::from(letters[byte as usize % letters.len()])));
    out
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while filled < count {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_has_the_shape_of_its_key_and_nothing_else_of_it() {
        let key = format!("sk-ant-api03-{}", "x".repeat(95));
        let place = like(&key, None);
        assert!(place.starts_with("sk-ant-api03-SBOX") && place.len() == key.len() && !place.contains("xxxxxxxx"));
        assert_ne!(place, like(&key, None));
        assert_eq!(like(&key, Some(&place)), place);
        let hex = like("0123456789abcdef0123456789abcdef", None);
        assert!(hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        // Too short to be told from other text.
        assert_eq!(like("12345678", None).len(), SHORTEST);
        // Another kind of key.
        assert!(like("ghp_z123456789012345678901234567890123456", Some(&place)).starts_with("ghp_SBOX"));
        // What a project came with is not one.
        assert_ne!(
            like(&key, Some("sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
            "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        );
        // Never the key itself.
        assert_ne!(like(&key, Some(&key)), key);
    }
}

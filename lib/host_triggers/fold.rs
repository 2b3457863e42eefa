//! Names as file systems that ignore case see them.

use std::borrow::Cow;
use std::ffi::OsStr;

/// A name as a file system that ignores case sees it: `.GIT` opens as `.git` on vfat, on NTFS and where ext4 folds case,
/// also with letters that only fold to these, with characters that do not count, or with dots or spaces at its end. `None` is a name
/// that no program writes down. All names are compared like this, wherever they are: nobody needs `.Envrc`.
pub fn folded(name: &OsStr) -> Option<Cow<'_, str>> {
    let name = name.to_str()?;
    let is_plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if name.bytes().all(is_plain) && !name.ends_with(['.', ' ']) {
        return Some(Cow::Borrowed(name));
    }
    let mut all = String::with_capacity(name.len());
    for letter in name.chars().filter(|letter| !is_ignorable(*letter)) {
        match letter {
            '\u{17f}' => all.push('s'),
            '\u{df}' | '\u{1e9e}' => all.push_str("ss"),
            '\u{fb00}' => all.push_str("ff"),
            '\u{fb01}' => all.push_str("fi"),
            '\u{fb02}' => all.push_str("fl"),
            '\u{fb03}' => all.push_str("ffi"),
            '\u{fb04}' => all.push_str("ffl"),
            '\u{fb05}' | '\u{fb06}' => all.push_str("st"),
            letter => all.extend(letter.to_lowercase()),
        }
    }
    all.truncate(all.trim_end_matches(['.', ' ']).len());
    Some(Cow::Owned(all))
}

/// Default_Ignorable_Code_Point of Unicode: ext4 leaves these out of names that it compares.
fn is_ignorable(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

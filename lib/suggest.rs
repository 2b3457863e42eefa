//! "Did you mean": the known word that a mistyped one resembles.

/// The closest of `known` to `word`, if it is close enough to have been meant (Damerau-Levenshtein distance of at
/// most a third of its length).
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count().max(word.chars().count()) / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// What to do about a word that is not one of `known`: the one that was meant, or all there are.
pub fn hint(word: &str, known: &[&str]) -> String {
    match did_you_mean(word, known.iter().copied()) {
        Some(meant) => format!("did you mean '{meant}'?"),
        None => format!("use one of: {}", known.join(", ")),
    }
}

fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let verbs = ["build", "run", "exec", "status"];
        assert_eq!(did_you_mean("biuld", verbs), Some("build"));
        assert_eq!(did_you_mean("statsu", verbs), Some("status"));
        assert_eq!(did_you_mean("deploy", verbs), None);
    }
}

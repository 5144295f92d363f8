//! "Did you mean": the nearest of the names that exist.

/// Returns the candidate nearest to `name`, if one is near enough to be meant.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let nearest = candidates
        .into_iter()
        .map(|c| (strsim::osa_distance(&lower, &c.to_lowercase()), c))
        .min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)))?;
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    (nearest.0 <= allowed).then_some(nearest.1)
}

/// Returns the candidates as a list for a message: `a, b, c`, cut after twelve with a count.
pub fn list_some<'a>(candidates: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let all: Vec<&str> = candidates.into_iter().collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// Returns how to help with a name that is not among `known`: `kinds` is what those are called,
/// `none` is said where there is none.
pub fn nearest(name: &str, known: &[String], kinds: &str, none: &str) -> String {
    let names = || known.iter().map(String::as_str);
    match did_you_mean(name, names()) {
        Some(near) => format!("did you mean '{near}'?"),
        None if known.is_empty() => none.to_owned(),
        None => format!("{kinds}: {}", list_some(names())),
    }
}

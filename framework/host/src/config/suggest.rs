//! The nearest known name to one that is not known.

/// `did you mean "mtu"?`, if one of the known names is near.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase());
    let near = known.into_iter().map(|known| (distance(known), known)).min()?;
    let reach = (name.chars().count() / 3).max(2);
    // A short name is near to any other short name: half of it must stand.
    let stands = near.0 * 2 <= near.1.chars().count();
    (near.0 <= reach && stands).then(|| format!("did you mean {:?}?", near.1))
}

/// The names in quotes, with commas.
pub(super) fn quoted_list<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{:?}", name.as_ref())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["bind", "mtu", "network", "report_interval"];
        for (name, suggestion) in
            [("mtuu", "mtu"), ("bnid", "bind"), ("Network", "network"), ("reportinterval", "report_interval")]
        {
            assert_eq!(did_you_mean(name, known), Some(format!("did you mean {suggestion:?}?")));
        }
        for name in ["colour", "x", "address"] {
            assert_eq!(did_you_mean(name, known), None, "{name}");
        }
    }
}

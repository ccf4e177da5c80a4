//! The median of a few measurements, and how far they lie apart. Pure.

use serde::{Deserialize, Serialize};

/// Several measurements of one quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many measurements.
    pub(crate) count: usize,
}

impl Spread {
    /// Of these values; nothing of none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: quantile(&sorted, 0.5)?, min, max, count: sorted.len() })
    }
}

/// The value below which `share` of the sorted values lie, between two of them by interpolation.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_what_is_no_number_does_not_count() {
        let spread = Spread::of([3.0, f64::NAN, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0, count: 3 });
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        let sorted: Vec<f64> = (0..=1000).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.99), Some(990.0));
        assert_eq!(quantile(&sorted, 1.0), Some(1000.0));
        assert_eq!(quantile(&[7.0], 0.999), Some(7.0));
    }
}

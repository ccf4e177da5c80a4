//! `planner [rounds] [quality] [time]`: how close adapt-vadapt's choice comes to the best there is, and how long a plan
//! for many nodes takes, as JSON on standard output. Each round has other random instances. The first part measures no
//! time. Whoever reads (`cargo xtask bench planner`) takes medians over rounds.

mod instances;
mod optimum;
mod plans;

use serde_json::{Value, json};
use vreserve_adapt_vadapt::Config;
use vreserve_adapt_vadapt::choice::{Effort, Problem, Selection, choose, value};

/// Instances per round.
const INSTANCES: usize = 500;
/// Sums of rates in another order differ by less.
const ROUNDING: f64 = 1e-9;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rounds: u64 = words.iter().find_map(|word| word.parse().ok()).unwrap_or(5);
    let is_asked = |part: &str| {
        let parts = words.iter().filter(|word| word.parse::<u64>().is_err());
        parts.clone().count() == 0 || parts.into_iter().any(|word| word == part)
    };
    let round = |round: u64| {
        json!({
            "quality": is_asked("quality").then(|| quality(round)),
            "plans": is_asked("time").then(plans::measure),
        })
    };
    let rounds: Vec<Value> = (0..rounds).map(round).collect();
    println!("{:#}", json!({ "instances": INSTANCES, "rounds": rounds }));
}

/// Shares of the optimum, in percent, one per instance.
#[derive(Default)]
struct Shares {
    /// Of what all pairs are served.
    of_value: Vec<f64>,
    /// Of what is gained over the star alone.
    of_gain: Vec<f64>,
    /// Instances that came out under the star.
    below_star: usize,
}

impl Shares {
    fn add(&mut self, reached: f64, optimum: f64, star: f64) {
        let slack = optimum.abs() * ROUNDING + 1e-6;
        assert!(reached <= optimum + slack, "{reached} is more than the optimum of {optimum}");
        self.below_star += usize::from(reached < star - slack);
        self.of_value.push(if optimum > 0.0 { reached / optimum * 100.0 } else { 100.0 });
        // Where nothing can be gained nothing can be missed.
        let gain = optimum - star;
        self.of_gain.push(if gain > slack { (reached - star) / gain * 100.0 } else { 100.0 });
    }

    fn report(mut self) -> Value {
        let percentile = |values: &mut Vec<f64>, share: f64| {
            values.sort_by(f64::total_cmp);
            values[((values.len() - 1) as f64 * share) as usize]
        };
        json!({
            "median": percentile(&mut self.of_value, 0.5),
            "p5": percentile(&mut self.of_value, 0.05),
            "least": percentile(&mut self.of_value, 0.0),
            "gain_median": percentile(&mut self.of_gain, 0.5),
            "gain_p5": percentile(&mut self.of_gain, 0.05),
            "below_star": self.below_star,
        })
    }
}

fn quality(round: u64) -> Value {
    let mut random = fastrand::Rng::with_seed(round);
    let steps = Config::default().refine_steps;
    let (mut greedy, mut refined) = (Shares::default(), Shares::default());
    for _ in 0..INSTANCES {
        let (problem, routing) = instances::random(&mut random);
        let optimum = optimum::exact(&problem);
        let star = value(&problem, &Selection::none(&problem), routing);
        let reached =
            |problem: &Problem, steps| value(problem, &choose(problem, Effort { routing, steps }), routing);
        greedy.add(reached(&problem, 0), optimum, star);
        refined.add(reached(&problem, steps), optimum, star);
    }
    json!({ "greedy": greedy.report(), "refined": refined.report() })
}

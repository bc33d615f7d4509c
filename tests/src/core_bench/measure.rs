//! Times, in turn, so that whatever slows the machine slows all that is compared.

use std::time::{Duration, Instant};

use super::Rounds;

/// How long one sample takes.
const SAMPLE: Duration = Duration::from_micros(500);
const SAMPLES: usize = 31;

fn time(subject: &mut Rounds, rounds: u32) -> Duration {
    let start = Instant::now();
    subject(rounds);
    start.elapsed()
}

/// So many rounds take about one sample.
fn calibrate(subject: &mut Rounds) -> u32 {
    let mut rounds = 1_u32;
    loop {
        if time(subject, rounds) >= SAMPLE || rounds > u32::MAX / 2 {
            return rounds;
        }
        rounds *= 2;
    }
}

/// The median nanoseconds of a round of each.
pub(super) fn medians<const N: usize>(mut subjects: [Rounds; N]) -> [f64; N] {
    let rounds = subjects.each_mut().map(calibrate);
    let mut samples = [const { Vec::new() }; N];
    for _ in 0..SAMPLES {
        for ((subject, rounds), samples) in subjects.iter_mut().zip(rounds).zip(&mut samples) {
            let nanos = time(subject, rounds).as_nanos();
            samples.push(nanos as f64 / f64::from(rounds));
        }
    }
    samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        samples.get(SAMPLES / 2).copied().unwrap_or(f64::NAN)
    })
}

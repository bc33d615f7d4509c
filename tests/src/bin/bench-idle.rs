//! One end of the benchmark's idle connections: a program of its own, since it counts what it
//! allocates.

use grpctunnel_tests::bench::{End, idle};
use grpctunnel_tests::interop::Outcome;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((count, words)) = words.split_first() else {
        return Err("bench-idle COUNT END: started by the benchmark".into());
    };
    let end = End::parse(words)?.ok_or("not an end")?;
    idle::play(count.parse()?, &end, |run| {
        allocation_counter::measure(run).bytes_current
    })
}

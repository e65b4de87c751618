//! The bench with ranks that err on purpose.

use super::*;
use crate::perf::calls::Call;
use crate::perf::collective::Collective;
use crate::perf::flags::Flags;
use clap::Parser;
use serried::Element;
use std::cell::Cell;
use zerocopy::IntoBytes;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

/// A rank alone, whose calls of more than one element go wrong from one of them on.
#[derive(Default)]
struct Erring {
    made: Cell<u64>,
    wrong_from: u64,
    error: Option<Mistake>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    FlipsOneBit,
    WritesNothing,
    Fails,
}

const COUNT: usize = 100;

impl Erring {
    fn make(&self, result: &mut [u8], input: Option<&[u8]>) -> Result<()> {
        let is_tested = result.len() == COUNT * size_of::<f32>();
        let made = self.made.get() + u64::from(is_tested);
        self.made.set(made);
        let error = self.error.filter(|_| is_tested && made > self.wrong_from);
        if let Some(input) = input
            && error != Some(Mistake::WritesNothing)
        {
            result.copy_from_slice(input);
        }
        match error {
            Some(Mistake::FlipsOneBit) => result[COUNT / 2] ^= 1,
            Some(Mistake::Fails) => return Err(serried::Error::InvalidArgument { what: "no".to_owned() }),
            Some(Mistake::WritesNothing) | None => {}
        }
        Ok(())
    }
}

impl Calls for Erring {
    fn rank(&self) -> u32 {
        0
    }

    fn size(&self) -> u32 {
        1
    }

    fn all_reduce<T: Element>(&self, _data: &mut [T], _op: Op) -> Result<()> {
        Ok(())
    }

    fn call(&self, _call: &Call, input: Option<&[u8]>, output: &mut [u8]) -> Result<()> {
        self.make(output, input)
    }

    fn all_reduce_batch<T: Sample>(&self, batch: &mut Batch<T>, _reduction: Reduction) -> Result<()> {
        let Batch::Private(buffers) = batch else { unreachable!("the tests ask for no other") };
        buffers.iter_mut().try_for_each(|buffer| self.make(buffer.as_mut_bytes(), None))
    }
}

/// A collective's row.
fn work(collective: Collective, count: u64, reduction: Reduction) -> Work {
    let root = collective.kind().has_root().then_some(0);
    Work { collective, count, ranks: 1, data_type: serried::DataType::F32, reduction, root }
}

fn measure(line: &str, calls: &Erring, place: Place) -> Result<Option<Measured>> {
    let line = format!("perf -b 400 -e 400 -n 5 -w 2 {line}");
    let plan = Line::try_parse_from(line.split_whitespace())
        .expect("valid flags")
        .flags
        .plan(Collective::AllReduce)
        .expect("a plan");
    let progress = Progress::new(1);
    let work = work(Collective::AllReduce, COUNT as u64, Reduction::Op(Op::Sum));
    Bench::new(calls, &plan, &progress)?.measure::<f32>(place, &work)
}

fn wrong(line: &str, calls: &Erring, place: Place) -> Option<u64> {
    measure(line, calls, place).expect("no call fails").expect("this half exists").half.wrong
}

#[test]
fn warm_up_timed_and_checked_calls_are_as_many_as_asked_for() {
    let calls = Erring::default();
    assert_eq!(wrong("-c 3", &calls, Place::Out), Some(0));
    assert_eq!(calls.made.get(), 2 + 5 + 3);
    assert_eq!(wrong("-c 0", &calls, Place::In), None, "nothing was checked");
    assert_eq!(calls.made.get(), 10 + 2 + 5);
    assert_eq!(wrong("-c 1 -m 4", &calls, Place::In), Some(0));
    assert_eq!(calls.made.get(), 17 + 4 * (2 + 5 + 1));
    assert!(measure("-m 4", &calls, Place::Out).expect("no call fails").is_none(), "started calls are in place");
}

#[test]
fn a_wrong_result_of_a_checked_call_is_counted() {
    let flip = || Erring { error: Some(Mistake::FlipsOneBit), ..Erring::default() };
    assert_eq!(wrong("", &flip(), Place::Out), Some(1));
    assert_eq!(wrong("", &flip(), Place::In), Some(1));
    assert_eq!(wrong("-m 3", &flip(), Place::In), Some(3), "one in each call of the batch");
    let third = Erring { wrong_from: 2 + 5 + 2, ..flip() };
    assert_eq!(wrong("-c 3", &third, Place::Out), Some(1), "the third checked call");
    let stale = Erring { error: Some(Mistake::WritesNothing), ..Erring::default() };
    assert_eq!(wrong("", &stale, Place::Out), Some(COUNT as u64));
}

#[test]
fn a_failing_call_ends_the_measurement() {
    let failing = Erring { error: Some(Mistake::Fails), wrong_from: 4, ..Erring::default() };
    assert!(measure("", &failing, Place::Out).is_err());
    assert_eq!(failing.made.get(), 5);
}

#[test]
fn an_open_number_of_iterations_fills_the_time() {
    let plan = Line::try_parse_from(["perf", "-e", "8", "-I", "1"])
        .expect("valid flags")
        .flags
        .plan(Collective::AllReduce)
        .expect("a plan");
    let (calls, progress) = (Erring::default(), Progress::new(1));
    let mut bench = Bench::new(&calls, &plan, &progress).expect("there is memory");
    let measured = bench
        .measure::<u8>(
            Place::Out,
            &Work { data_type: serried::DataType::U8, ..work(Collective::AllReduce, 8, Reduction::Op(Op::Max)) },
        )
        .expect("no call fails")
        .expect("this half exists");
    // A copy of 8 bytes takes far less than 5 µs, so 0.1 s hold more than 20,000.
    assert!(measured.iterations > 20_000, "{}", measured.iterations);
    let spread = measured.spread.expect("it was asked for");
    assert!(spread.min_us <= spread.p50_us && spread.p50_us <= spread.p99_us && spread.p99_us <= spread.max_us);
    assert!(spread.min_us <= spread.avg_us && spread.avg_us <= spread.max_us);
}

#[test]
fn every_collective_of_one_rank_is_a_copy_and_is_checked_in_both_places() {
    for collective in Collective::ALL.into_iter().filter(|collective| *collective != Collective::Barrier) {
        let reduction = if collective.kind().reduces() { Reduction::Op(Op::Sum) } else { Reduction::None };
        let line = "perf -b 400 -e 400 -n 2";
        let plan = Line::try_parse_from(line.split_whitespace()).expect("valid flags").flags;
        let plan = plan.plan(collective).expect("a plan");
        for (error, expected) in [(None, 0), (Some(Mistake::FlipsOneBit), 1)] {
            let (calls, progress) = (Erring { error, ..Erring::default() }, Progress::new(1));
            let mut bench = Bench::new(&calls, &plan, &progress).expect("there is memory");
            for place in [Place::Out, Place::In] {
                let measured =
                    bench.measure::<f32>(place, &work(collective, COUNT as u64, reduction)).expect("no call fails");
                assert_eq!(measured.is_some(), place == Place::Out || collective.is_in_place());
                let wrong = measured.map(|measured| measured.half.wrong.expect("it was checked"));
                assert_eq!(wrong.unwrap_or(expected), expected, "{} {place:?}", collective.name());
            }
        }
    }
}

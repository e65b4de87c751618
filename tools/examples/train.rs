//! Data-parallel training: each rank has some of the flowers, and gradients are summed with allreduce.
//!
//!     cargo run --release -p serried-tools --example train -- 4
//!
//! starts four ranks on this machine. Under torchrun, mpirun or srun each process is a rank of that job. A small neural network learns to tell the three
//! species of Fisher's iris measurements (1936; `iris.csv`: 150 flowers, centimetres). Rank 0 then trains alone on all of them, and says how
//! far the losses are apart: only the order of additions differs.

use serried::bootstrap::Launch;
use serried::{Communicator, Config, Op, UniqueId};
use std::process::{Command, ExitCode};

const DATA: &str = include_str!("iris.csv");
const INPUTS: usize = 4;
const HIDDEN: usize = 8;
const SPECIES: usize = 3;
/// Weights and biases of both layers, one after the other.
const PARAMETERS: usize = (INPUTS + 1) * HIDDEN + (HIDDEN + 1) * SPECIES;
const STEPS: usize = 2000;
const RATE: f64 = 0.5;
/// The sums of a few hundred numbers in another order differ by far less, and training does not spread it.
const TOLERANCE: f64 = 1e-9;

struct Flower {
    measures: [f64; INPUTS],
    species: usize,
}

/// What a rank contributes in one step, over its flowers: the loss, how many it tells right, how many there are, and the gradient.
type Sums = [f64; 3 + PARAMETERS];

fn main() -> ExitCode {
    match run() {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(error) => {
            eprintln!("train: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn std::error::Error>> {
    if Launch::from_env()?.is_none() {
        let ranks = std::env::args().nth(1).map_or(Ok(2), |count| count.parse::<u32>())?;
        return start(ranks.max(1));
    }
    let comm = Communicator::from_env(&Config::from_env()?)?;
    let flowers = flowers();
    let mine = flowers.iter().skip(comm.rank() as usize).step_by(comm.size() as usize);
    let mine: Vec<&Flower> = mine.collect();
    let together = train(&mine, |sums| comm.all_reduce(sums, Op::Sum))?;
    if comm.rank() > 0 {
        return Ok(true);
    }
    let alone = train(&flowers.iter().collect::<Vec<_>>(), |_| Ok(()))?;
    let apart = (together[0] - alone[0]).abs() / alone[0];
    println!("{} ranks: loss {:.9}, {} of {} told right", comm.size(), together[0], together[1], together[2]);
    println!("1 rank:  loss {:.9}, {} of {} told right", alone[0], alone[1], alone[2]);
    println!("the losses differ by {apart:.1e} of their size");
    Ok(apart < TOLERANCE)
}

/// Starts the ranks, each this program again, and waits for them.
fn start(ranks: u32) -> Result<bool, Box<dyn std::error::Error>> {
    let id = UniqueId::create(&Config::from_env()?.control)?.to_string();
    let program = std::env::current_exe()?;
    let rank = |rank: u32| {
        let (rank, size) = (rank.to_string(), ranks.to_string());
        Command::new(&program).envs([("SERRIED_RANK", &rank), ("SERRIED_SIZE", &size), ("SERRIED_ID", &id)]).spawn()
    };
    let children = (0..ranks).map(rank).collect::<Result<Vec<_>, _>>()?;
    let mut good = true;
    for mut child in children {
        good &= child.wait()?.success();
    }
    Ok(good)
}

/// Gradient descent on `mine`, where `reduce` sums over all ranks; the last step's loss, hits and flowers.
fn train(mine: &[&Flower], reduce: impl Fn(&mut [f64]) -> serried::Result<()>) -> serried::Result<[f64; 3]> {
    let mut parameters = start_values();
    let mut last = [0.0; 3];
    for _ in 0..STEPS {
        let mut sums: Sums = [0.0; 3 + PARAMETERS];
        mine.iter().for_each(|flower| learn(&parameters, flower, &mut sums));
        reduce(&mut sums)?;
        let [loss, right, count] = [sums[0], sums[1], sums[2]];
        for (parameter, gradient) in parameters.iter_mut().zip(&sums[3..]) {
            *parameter -= RATE * gradient / count;
        }
        last = [loss / count, right, count];
    }
    Ok(last)
}

/// Adds one flower's part to the sums: forward through both layers, and back.
fn learn(parameters: &[f64; PARAMETERS], flower: &Flower, sums: &mut Sums) {
    let (first, second) = parameters.split_at((INPUTS + 1) * HIDDEN);
    let neuron = |weights: &[f64], values: &[f64]| {
        weights[..values.len()].iter().zip(values).map(|(weight, value)| weight * value).sum::<f64>()
            + weights[values.len()]
    };
    let hidden: [f64; HIDDEN] =
        std::array::from_fn(|unit| neuron(&first[unit * (INPUTS + 1)..], &flower.measures).tanh());
    let scores: [f64; SPECIES] = std::array::from_fn(|species| neuron(&second[species * (HIDDEN + 1)..], &hidden));
    let most = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights = scores.map(|score| (score - most).exp());
    let total: f64 = weights.iter().sum();
    let chances = weights.map(|weight| weight / total);
    sums[0] -= chances[flower.species].ln();
    sums[1] += f64::from(u8::from(scores[flower.species] == most));
    sums[2] += 1.0;
    let (_, gradient) = sums.split_at_mut(3);
    let (first_gradient, second_gradient) = gradient.split_at_mut((INPUTS + 1) * HIDDEN);
    let mut back = [0.0; HIDDEN];
    for (species, chance) in chances.iter().enumerate() {
        let error = chance - f64::from(u8::from(species == flower.species));
        let row = species * (HIDDEN + 1);
        for (unit, value) in hidden.iter().enumerate() {
            second_gradient[row + unit] += error * value;
            back[unit] += error * second[row + unit];
        }
        second_gradient[row + HIDDEN] += error;
    }
    for (unit, value) in hidden.iter().enumerate() {
        let error = back[unit] * (1.0 - value * value);
        let row = unit * (INPUTS + 1);
        for (input, measure) in flower.measures.iter().enumerate() {
            first_gradient[row + input] += error * measure;
        }
        first_gradient[row + INPUTS] += error;
    }
}

/// The same small numbers on every rank, no two units alike.
fn start_values() -> [f64; PARAMETERS] {
    std::array::from_fn(|index| ((index * 37 % 101) as f64 / 101.0 - 0.5) * 0.8)
}

/// All flowers, each measure about its mean and in units of its spread.
fn flowers() -> Vec<Flower> {
    let row = |line: &str| {
        let fields: Vec<f64> = line.split(',').map(|field| field.parse().expect("the file holds numbers")).collect();
        Flower { measures: std::array::from_fn(|index| fields[index]), species: fields[INPUTS] as usize }
    };
    let mut flowers: Vec<Flower> = DATA.lines().skip(1).map(row).collect();
    for index in 0..INPUTS {
        let count = flowers.len() as f64;
        let mean = flowers.iter().map(|flower| flower.measures[index]).sum::<f64>() / count;
        let spread = flowers.iter().map(|flower| (flower.measures[index] - mean).powi(2)).sum::<f64>() / count;
        flowers.iter_mut().for_each(|flower| flower.measures[index] = (flower.measures[index] - mean) / spread.sqrt());
    }
    flowers
}

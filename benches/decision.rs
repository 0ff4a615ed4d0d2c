//! Time of each part of a decision and of the whole, and memory for each enterprise, with a country's register loaded.
//!
//! `cargo bench --bench decision` prints a table; `-- --output json` JSON. With `--count` it runs loops for callgrind to
//! count their instructions (see instructions.sh) and prints nothing.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints means and fails on anything odd"
)]

mod support;

use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use prost::Message;
use serde::Serialize;

use support::{
    cases::{CASES, Case, Loop, answers},
    world::{Memory, World},
};

// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Enough iterations to fill every bounded memory before the first round.
const WARM_UP: usize = 300_000;

#[derive(Debug, Parser)]
struct Options {
    /// Registered enterprises.
    #[arg(long, default_value_t = 1_000_000)]
    enterprises: usize,
    /// Rounds; every case runs once in each.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Decisions of each case in a round.
    #[arg(long, default_value_t = 200_000)]
    iterations: usize,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Run only these cases, and print nothing; `counted` then holds `--iterations` of each, in this order.
    #[arg(long, value_name = "CASE", num_args = 1..)]
    count: Vec<String>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// The result, as JSON names it.
#[derive(Debug, Serialize)]
struct Report {
    enterprises: usize,
    rounds: usize,
    iterations: usize,
    memory_bytes_each: f64,
    memory_name_bytes_each: f64,
    load_seconds: f64,
    request_bytes: usize,
    response_bytes: usize,
    cases: Vec<Figure>,
}

/// Nanoseconds an iteration.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    about: &'static str,
    /// The median, without the control.
    net: f64,
    median: f64,
    minimum: f64,
    maximum: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (mut world, memory) = World::new(options.enterprises);
    if options.count.is_empty() {
        return measure(&mut world, memory, &options);
    }
    for name in &options.count {
        let case = CASES.iter().find(|case| case.name == name);
        let case = case.with_context(|| format!("there is no case {name:?}"))?;
        world.put_orders(case.orders);
        let mut run = (case.prepare)(&mut world);
        run(&mut world, options.iterations);
        counted(&mut run, &mut world, options.iterations);
    }
    Ok(())
}

/// Nothing but the loop, under a name that callgrind can be told.
#[inline(never)]
fn counted(run: &mut Loop, world: &mut World, iterations: usize) {
    run(world, iterations);
}

fn measure(world: &mut World, memory: Memory, options: &Options) -> Result<()> {
    let mut loops: Vec<_> = CASES
        .iter()
        .map(|case| (case, prepare(world, case), Vec::new()))
        .collect();
    for _ in 0..options.rounds {
        for (case, run, times) in &mut loops {
            world.put_orders(case.orders);
            let from = Instant::now();
            run(world, options.iterations);
            times.push(from.elapsed().as_secs_f64() * 1e9 / options.iterations as f64);
        }
    }
    let mut cases: Vec<Figure> = Vec::with_capacity(loops.len());
    for (case, _, mut times) in loops {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        let control = case
            .control
            .and_then(|name| cases.iter().find(|figure| figure.name == name));
        cases.push(Figure {
            name: case.name,
            about: case.about,
            net: median - control.map_or(0.0, |control| control.median),
            median,
            minimum: times[0],
            maximum: times[times.len() - 1],
        });
    }
    let answers = answers(world);
    let report = Report {
        enterprises: options.enterprises,
        rounds: options.rounds,
        iterations: options.iterations,
        memory_bytes_each: memory.bytes_each,
        memory_name_bytes_each: memory.name_bytes_each,
        load_seconds: memory.seconds,
        request_bytes: world.bytes.iter().map(Vec::len).sum::<usize>() / world.bytes.len(),
        response_bytes: answers.iter().map(Message::encoded_len).sum::<usize>() / answers.len(),
        cases,
    };
    match options.output {
        Output::Table => print_table(&report),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(())
}

fn prepare(world: &mut World, case: &Case) -> Loop {
    world.put_orders(case.orders);
    let mut run = (case.prepare)(world);
    run(world, WARM_UP);
    run
}

fn print_table(report: &Report) {
    println!(
        "{} enterprises: {:.1} bytes each, {:.1} of them the name; loaded in {:.2} s",
        report.enterprises, report.memory_bytes_each, report.memory_name_bytes_each, report.load_seconds
    );
    println!(
        "request {} bytes, response {} bytes; ns an iteration, median of {} rounds of {}; net: without the control",
        report.request_bytes, report.response_bytes, report.rounds, report.iterations
    );
    println!(
        "{:24} {:>8} {:>8} {:>8} {:>8}  what",
        "case", "net", "median", "min", "max"
    );
    for Figure {
        name,
        about,
        net,
        median,
        minimum,
        maximum,
    } in &report.cases
    {
        println!("{name:24} {net:8.1} {median:8.1} {minimum:8.1} {maximum:8.1}  {about}");
    }
}

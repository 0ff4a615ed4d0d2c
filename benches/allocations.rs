//! Allocations of each part of a decision and of the whole. A program of its own: the counter is an allocator.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints means and fails on anything odd"
)]

#[allow(dead_code, reason = "memory and controls are the other program's")]
mod support;

use support::{cases::CASES, world::World};

/// Counts are means over this many iterations.
const ITERATIONS: usize = 10_000;

fn main() {
    let (mut world, _) = World::new(20_000);
    println!("{:24} {:>11} {:>8}  what", "case", "allocations", "bytes");
    for case in CASES {
        world.put_orders(case.orders);
        let mut run = (case.prepare)(&mut world);
        run(&mut world, ITERATIONS);
        let counted = allocation_counter::measure(|| run(&mut world, ITERATIONS));
        let each = |total: u64| total as f64 / ITERATIONS as f64;
        let (count, bytes) = (each(counted.count_total), each(counted.bytes_total));
        println!("{:24} {count:11.2} {bytes:8.0}  {}", case.name, case.about);
    }
}

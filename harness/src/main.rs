//! roulette
fn main() {}

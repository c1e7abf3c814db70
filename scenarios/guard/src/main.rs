//! The `guard` command. Everything it does is in the library, because the `roulette` binary contains it too.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    guard::main(std::env::args_os())
}

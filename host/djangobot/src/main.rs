//! The program `djangobot`: it runs the library's `main`.

use std::process::ExitCode;

fn main() -> ExitCode {
    djangobot::main()
}

use std::process::ExitCode;

use gateway::ServeArgs;

fn main() -> ExitCode {
    chassis::main::<ServeArgs>()
}

use std::process::ExitCode;

use gateway::{Args, Command};

fn main() -> ExitCode {
    let Command::Serve(args) = match chassis::parse::<Args>() {
        Ok(args) => args.command,
        Err(code) => return code,
    };
    let service = chassis::Service {
        name: "gateway",
        version: env!("CARGO_PKG_VERSION"),
    };
    let process = args.process.clone();
    chassis::serve(service, &process, async |process| {
        gateway::run(args, process).await
    })
}

//! Compiles the libraries that are preloaded into the programs: in C, for they stand in front of functions of C that
//! take any number of arguments, and must not call any of Rust's own.

use std::env;
use std::path::Path;
use std::process::Command;

/// The source of each, and the variable that tells the trials where it is.
const LIBRARIES: [(&str, &str); 2] = [("shim", "TRIALS_SHIM"), ("faults", "TRIALS_FAULTS")];

fn main() {
    let directory = env::var("OUT_DIR").expect("cargo says where to write");
    for (name, variable) in LIBRARIES {
        let source = format!("src/crash/{name}.c");
        println!("cargo::rerun-if-changed={source}");
        if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
            continue;
        }
        let library = Path::new(&directory).join(name).with_extension("so");
        let mut compiler: Command = cc::Build::new().get_compiler().to_command();
        let done = compiler
            .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&library)
            .args([&source, "-ldl"]);
        let status = done.status().unwrap_or_else(|error| panic!("{done:?} cannot run: {error}"));
        assert!(status.success(), "{done:?}: {status}");
        println!("cargo::rustc-env={variable}={}", library.display());
    }
}

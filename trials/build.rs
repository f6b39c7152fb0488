//! Compiles the library that is preloaded into the programs: in C, for it stands in front of functions of C that
//! take any number of arguments, and must not call any of Rust's own.

use std::env;
use std::path::Path;
use std::process::Command;

const SHIM: &str = "src/crash/shim.c";

fn main() {
    println!("cargo::rerun-if-changed={SHIM}");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let directory = env::var("OUT_DIR").expect("cargo says where to write");
    let library = Path::new(&directory).join("shim.so");
    let mut compiler: Command = cc::Build::new().get_compiler().to_command();
    let done = compiler
        .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&library)
        .args([SHIM, "-ldl"]);
    let status = done.status().unwrap_or_else(|error| panic!("{done:?} cannot run: {error}"));
    assert!(status.success(), "{done:?}: {status}");
    println!("cargo::rustc-env=TRIALS_SHIM={}", library.display());
}

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::encrypted_pem(bytes));

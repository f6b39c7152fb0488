//! Parameters from every source, through [`super::CommonFlags::load`].

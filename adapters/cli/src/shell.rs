//! What a shell and a reader of manuals want of the program: completions and man pages.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;

/// The completions of a shell, as that shell reads them.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "grpctunnel", &mut text);
    text
}

/// The man page of the program itself, in section 1.
///
/// # Errors
///
/// None but what writing to memory brings.
pub fn manual() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(Cli::command()).render(&mut text)?;
    Ok(text)
}

/// Writes the man page of the program, and one of each command, to a directory, which is made. A
/// page that is there is replaced.
///
/// # Errors
///
/// When they cannot be written.
pub fn manuals(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut written = Vec::new();
    let mut left = vec![program];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().cloned());
        written.push(Man::new(command).generate_to(directory)?);
    }
    written.sort_unstable();
    Ok(written)
}

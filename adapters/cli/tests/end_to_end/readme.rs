//! What the README tells users to do is what the program takes.

use std::path::{Path, PathBuf};

use grpctunnel_cli::{
    args::{Command, InitArgs},
    config, init,
};

use crate::support::Tested;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> Tested<String> {
    Ok(std::fs::read_to_string(root().join("README.md"))?)
}

/// The commands of the blocks of shell: without comments, and without what puts them into the
/// background.
fn commands(readme: &str) -> impl Iterator<Item = Vec<&str>> {
    let blocks = readme.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    lines.map(|line| {
        let words = line.split_whitespace();
        words
            .take_while(|word| !matches!(*word, "#" | "&"))
            .collect()
    })
}

#[test]
fn every_command_line_of_the_program_is_one() -> Tested {
    let home = tempfile::tempdir()?;
    let path = home.path().join("home");
    let readme = readme()?;
    let mut seen = 0;
    for words in commands(&readme).filter(|words| words.first() == Some(&"grpctunnel")) {
        let mut line = vec![std::ffi::OsString::from("grpctunnel")];
        for word in words.iter().skip(1) {
            line.push(match word.strip_prefix("home/") {
                Some(file) => path.join(file).into(),
                None => word.into(),
            });
        }
        let parsed = config::parse(line).map_err(|error| format!("{words:?}: {error}"))?;
        if let Command::Init(args) = parsed.cli.command {
            // As the README has it, but elsewhere: what follows reads these files.
            assert_eq!(args.dir, Path::new("home"));
            let dir = path.clone();
            init::init(&InitArgs { dir, ..args })?;
        }
        seen += 1;
    }
    assert!(seen > 5, "only {seen} commands were found");
    Ok(())
}

#[test]
fn every_file_and_example_is_there() -> Tested {
    let readme = readme()?;
    let mut missing = Vec::new();
    for link in readme.split("](").skip(1) {
        let link = link.split([')', '#']).next().unwrap_or_default();
        if !link.is_empty() && !link.contains("://") && !root().join(link).exists() {
            missing.push(link.to_owned());
        }
    }
    for words in commands(&readme) {
        let after = |option| {
            let place = words.iter().position(|word| *word == option)?;
            words.get(place + 1).copied()
        };
        for word in &words {
            let is_file =
                word.ends_with(".py") || word.ends_with(".txt") || word.starts_with(".ci/");
            if is_file && !root().join(word).exists() {
                missing.push((*word).to_owned());
            }
        }
        if let (Some(example), Some(package)) = (after("--example"), after("-p")) {
            let package = package.trim_start_matches("grpctunnel-");
            let of = ["", "adapters/"].map(|folder| root().join(format!("{folder}{package}")));
            if !of
                .iter()
                .any(|of| of.join(format!("examples/{example}.rs")).exists())
            {
                missing.push(format!("{package}: {example}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    Ok(())
}

#[test]
fn exit_codes_are_told_as_the_help_tells_them() -> Tested {
    use clap::CommandFactory;
    let help = grpctunnel_cli::args::Cli::command()
        .render_help()
        .to_string();
    let readme = readme()?;
    let codes = help.split("Exit codes:").nth(1).ok_or("no exit codes")?;
    for line in codes.lines().filter(|line| !line.is_empty()) {
        let (code, meaning) = line.trim().split_once("  ").ok_or("no meaning")?;
        let row = format!("| {code} | {meaning} |");
        assert!(readme.contains(&row), "{row}");
    }
    Ok(())
}

#[test]
fn every_crate_names_its_place() -> Tested {
    let readme = readme()?;
    let packages = readme.split("](").filter_map(|link| link.split_once(')'));
    let folders = packages.map(|(folder, _)| root().join(folder).join("src/lib.rs"));
    let mut seen = 0;
    for file in folders.filter(|file| file.exists()) {
        let text = std::fs::read_to_string(&file)?;
        // The folder of the tests is no crate that anybody depends on.
        if text.contains("What the tests of grpctunnel share") {
            continue;
        }
        let sentence = "//! Its place among the crates of grpctunnel: it stands on ";
        assert!(text.contains(sentence), "{}", file.display());
        seen += 1;
    }
    assert_eq!(seen, 8);
    Ok(())
}

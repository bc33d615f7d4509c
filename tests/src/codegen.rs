//! Turns the `.proto` files into the committed Rust code, with no `protoc`.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;

/// The command that brings the committed code up to date.
pub const COMMAND: &str = "cargo run -p grpctunnel-tests --bin codegen";

/// One crate's `.proto` files and what becomes of them. Paths are relative to the repository.
struct Source {
    /// The folder that imports are relative to.
    include: &'static str,
    /// The files to compile, relative to `include`; what they import comes along.
    files: &'static [&'static str],
    /// The folder of the generated code. It holds nothing else.
    out: &'static str,
    /// The feature of the crate that its service stubs need.
    stubs: &'static str,
    /// Whether a descriptor set is written beside the code.
    descriptors: bool,
}

const SOURCES: &[Source] = &[
    Source {
        include: "proto/proto",
        files: &["grpctunnel/v1/tunnel.proto"],
        out: "proto/src/gen",
        stubs: "tonic",
        descriptors: true,
    },
    Source {
        include: "tests/proto",
        files: &[
            "grpc/testing/test.proto",
            "grpchantesting/test.proto",
            "grpctunnel/testing/testing.proto",
        ],
        out: "tests/src/gen",
        stubs: "services",
        descriptors: false,
    },
];

/// The folder that holds the whole project.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Generates all code anew and returns it by path, relative to the repository. Nothing is written
/// there.
///
/// # Errors
///
/// When a `.proto` file is missing or wrong, or the temporary folder cannot be used.
pub fn generate() -> Result<BTreeMap<PathBuf, Vec<u8>>, Box<dyn Error>> {
    let mut files = BTreeMap::new();
    for source in SOURCES {
        let scratch = tempfile::tempdir()?;
        compile(source, scratch.path())?;
        for (name, content) in read_folder(scratch.path())? {
            files.insert(Path::new(source.out).join(name), content);
        }
    }
    Ok(files)
}

/// The generated code as it is in the repository now, by path relative to it.
///
/// # Errors
///
/// When a folder or a file in it cannot be read.
pub fn committed() -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for source in SOURCES {
        for (name, content) in read_folder(&repository().join(source.out))? {
            files.insert(Path::new(source.out).join(name), content);
        }
    }
    Ok(files)
}

/// Makes the repository hold exactly what [`generate`] returned.
///
/// # Errors
///
/// When a file cannot be written or an outdated one not removed.
pub fn install(files: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for source in SOURCES {
        fs::create_dir_all(repository().join(source.out))?;
    }
    for outdated in committed()?
        .keys()
        .filter(|path| !files.contains_key(*path))
    {
        fs::remove_file(repository().join(outdated))?;
    }
    for (path, content) in files {
        fs::write(repository().join(path), content)?;
    }
    Ok(())
}

fn compile(source: &Source, out: &Path) -> Result<(), Box<dyn Error>> {
    let include = repository().join(source.include);
    let set = protox::compile(source.files, [include])?;
    if source.descriptors {
        fs::write(
            out.join("descriptor.bin"),
            without_comments(&set).encode_to_vec(),
        )?;
    }
    let only_with_stubs = format!("#[cfg(feature = \"{}\")]", source.stubs);
    tonic_prost_build::configure()
        .out_dir(out)
        .build_transport(false)
        .bytes(".")
        .btree_map(".")
        .client_mod_attribute(".", &only_with_stubs)
        .server_mod_attribute(".", &only_with_stubs)
        .compile_fds(set)?;
    Ok(())
}

/// Nothing that asks for descriptors at run time reads the comments, and they are half the bytes.
fn without_comments(set: &FileDescriptorSet) -> FileDescriptorSet {
    let mut set = set.clone();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}

fn read_folder(folder: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or(OsStr::new("")).into();
        files.insert(name, fs::read(&path)?);
    }
    Ok(files)
}

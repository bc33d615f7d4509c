//! The demo's committed stubs are what its `.proto` file says.

use std::{env, error::Error, fs, path::Path};

const COMMITTED: &str = "src/demo/generated/grpctunnel.demo.v1.rs";
const REGENERATE: &str = "GRPCTUNNEL_REGENERATE";

fn generate() -> Result<String, Box<dyn Error>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["grpctunnel/demo/v1/demo.proto"], [package.join("proto")])?;
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo_codegen");
    fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .bytes(".grpctunnel.demo.v1")
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(fs::read_to_string(out.join("grpctunnel.demo.v1.rs"))?)
}

#[test]
fn committed_stubs_are_those_of_the_proto_file() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    let generated = generate().unwrap();
    if env::var_os(REGENERATE).is_some() {
        fs::write(&committed, &generated).unwrap();
    }
    let found = fs::read_to_string(&committed).unwrap_or_default();
    assert!(
        found == generated,
        "adapters/cli/{COMMITTED} differs from adapters/cli/proto; write it anew with: \
         {REGENERATE}=1 cargo test -p grpctunnel-cli --test demo_codegen"
    );
}

//! The committed generated code is what the `.proto` files say.

use std::collections::BTreeSet;

use grpctunnel_tests::codegen;

#[test]
fn committed_code_is_up_to_date() {
    let generated = codegen::generate().expect("the .proto files compile");
    let committed = codegen::committed().expect("the generated code can be read");
    let differing: Vec<_> = generated
        .keys()
        .chain(committed.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|path| generated.get(*path) != committed.get(*path))
        .collect();
    assert!(
        differing.is_empty(),
        "not what the .proto files say: {differing:?}; run: {}",
        codegen::COMMAND
    );
}

//! Writes the generated code of the whole project. Takes no arguments.

use grpctunnel_tests::codegen;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = codegen::generate()?;
    codegen::install(&files)?;
    for path in files.keys() {
        println!("{}", path.display());
    }
    Ok(())
}

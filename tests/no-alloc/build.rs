//! Links the program with nothing but itself.

fn main() {
    println!("cargo:rerun-if-changed=cortex-m.ld");
    let bare_metal = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    let arguments: &[&str] = if bare_metal {
        &["-Tcortex-m.ld"]
    } else {
        &["-nostartfiles", "-nostdlib", "-static"]
    };
    for argument in arguments {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    if bare_metal {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-L{folder}");
    }
}

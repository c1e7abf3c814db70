//! What an executable says of how it was built.

use std::{fs::File, io};

use elf::{ElfStream, endian::AnyEndian};

/// Where the Go linker says which version and modules a program is of, and the build's id.
const GO: [&str; 2] = [".go.buildinfo", ".note.go.buildid"];

/// Whether a program was built by Go. Its runtime reserves far more address space than it uses, so that
/// a limit of that tells nothing of its need.
///
/// # Errors
/// The file cannot be read, or is no ELF file.
pub fn is_go(program: File) -> io::Result<bool> {
    let no_elf = |error: elf::ParseError| match error {
        elf::ParseError::IOError(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    };
    let mut elf = ElfStream::<AnyEndian, _>::open_stream(program).map_err(no_elf)?;
    for name in GO {
        if elf.section_header_by_name(name).map_err(no_elf)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_program_is_not_taken_for_one_of_go_and_a_text_is_no_program() {
        assert!(!is_go(File::open("/proc/self/exe").unwrap()).unwrap());
        assert!(is_go(File::open("/proc/self/status").unwrap()).is_err());
    }

    #[test]
    fn a_go_program_is_known_by_its_sections() {
        let Ok(pebble) = crate::pebble::find(None, &mut |_| {}) else {
            eprintln!("SKIPPED: no Pebble, which is a Go program");
            return;
        };
        assert!(is_go(File::open(pebble.pebble).unwrap()).unwrap());
    }
}

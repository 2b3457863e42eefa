//! Files of the kinds that an agent leaves behind, with a path in them; and programs, as compilers make them.

/// Data that names `path`: the name of each, and what would be a different file if a byte of it changed.
pub fn data(path: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = path.as_bytes();
    let join = |parts: &[&[u8]]| parts.concat();
    // Its length, as a byte, is a bracket: text might have that before a path.
    let long = format!("{path}/{}", "x".repeat(usize::from(b'[') - path.len() - 1));
    let count = |text: &str| (text.len() as u32).to_le_bytes();
    vec![
        (
            "state.sqlite",
            join(&[b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20", &[0; 80], &[13, 0, 0, 0, 1, 0], bytes, b"\0"]),
        ),
        ("pickle.pkl", join(&[b"\x80\x04\x95", &count(path), &[0; 4], b"\x8c", &[path.len() as u8], bytes, b"\x94."])),
        ("pickle2.pkl", join(&[b"\x80\x03C", &[path.len() as u8], bytes, b"q."])),
        ("array.npy", join(&[b"\x93NUMPY\x01\0\x76\0{'descr': '<U4'}  \n", bytes, b"\0\0\0"])),
        ("image.png", join(&[b"\x89PNG\r\n\x1a\n\0\0\0\x30tEXtpath\0", bytes, b"\xde\xad\xbe\xef"])),
        ("some.tar", join(&[bytes, &[0; 100], b"0000644\0ustar\x0000", &[0; 300]])),
        ("compile.cache", join(&[b"\xc0\xde\x06\x37\x01\0\0\0", bytes, b"\0\0\x07"])),
        ("message.msgpack", join(&[b"\x82\xa4name\xa1x\xa4path\xd9", &[path.len() as u8], bytes])),
        ("message.cbor", join(&[b"\xa1\x64path\x78", &[long.len() as u8], long.as_bytes()])),
        ("record.pb", join(&[b"\n", &[long.len() as u8], long.as_bytes()])),
        ("list.torrent", format!("d4:path{}:{path}e", path.len()).into_bytes()),
        ("session.php", format!("a:1:{{s:4:\"path\";s:{}:\"{path}\";}}", path.len()).into_bytes()),
        ("paper.pdf", format!("%PDF-1.4\n{path}\nxref\n0 1\n0000000010 00000 n\n").into_bytes()),
        ("wheel.zip", join(&[b"PK\x03\x04\x14\0", bytes])),
        (
            "go.bin",
            elf(&[
                (".text", true, b"\x90\x90"),
                (".gopclntab", true, b"\xff\xff"),
                (".rodata", true, &join(&[b"go: ", bytes, b" cannot be read"])),
            ]),
        ),
        (
            "rust.bin",
            elf(&[
                (".comment", false, b"rustc version 1.88.0\0"),
                (".rodata", true, &join(&[b"at ", bytes, b"/src/lib.rs", b"called unwrap\0"])),
            ]),
        ),
        (
            "object.o",
            elf(&[(".text", true, b"\x90"), (".debug_str", false, &join(&[b"GNU C17\0", bytes, b"/build\0"]))]),
        ),
    ]
}

/// An ELF file of 64 bits with these sections: name, whether it is loaded, content.
pub fn elf(sections: &[(&str, bool, &[u8])]) -> Vec<u8> {
    let mut names = vec![0u8];
    let mut body = Vec::new();
    let mut headers = vec![[0u8; 64]];
    let mut add = |name: u32, flags: u64, offset: usize, length: usize| {
        let mut header = [0u8; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&1u32.to_le_bytes());
        header[8..16].copy_from_slice(&flags.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        headers.push(header);
    };
    for (name, loaded, content) in sections {
        add(names.len() as u32, if *loaded { 2 } else { 0 }, 64 + body.len(), content.len());
        names.extend(name.bytes().chain([0]));
        body.extend_from_slice(content);
        body.push(0);
    }
    let own = names.len() as u32;
    names.extend(b".shstrtab\0");
    add(own, 0, 64 + body.len(), names.len());
    body.extend_from_slice(&names);
    let mut head = [0u8; 64];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    head[40..48].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
    head[58..60].copy_from_slice(&64u16.to_le_bytes());
    head[60..62].copy_from_slice(&(headers.len() as u16).to_le_bytes());
    head[62..64].copy_from_slice(&(headers.len() as u16 - 1).to_le_bytes());
    [head.as_slice(), &body, &headers.concat()].concat()
}

use super::*;
use fdt::Fdt;
use std::{format, string::String, vec, vec::Vec};

/// Reservation, nested nodes, values of each kind, names that repeat and names that end alike.
fn sample(memory: &mut [u8]) -> Result<usize, Full> {
    let mut writer = Writer::new(memory, 0x102);
    writer.reserve(0x1_0000_0000, 0x20);
    writer.root(|mut root| {
        root.u32("#address-cells", 2).string("model", "a machine");
        let mut nodes = root.children();
        nodes
            .node("empty-handed")
            .empty("always-on")
            .bytes("mac", &[1, 2, 3, 4, 5]);
        let mut bus = nodes.node_at("bus", 0xa00_0000);
        bus.strings("compatible", &["first", "second"]);
        let mut devices = bus.children();
        for unit in 0..2 {
            devices
                .node_at("device", unit.into())
                .cells("reg", &[unit, 0x200])
                .u64("size", 0x1_2345_6789)
                .u32("cells", 7);
        }
        drop(devices);
        nodes.node("last");
    })
}

fn written(fill: u8) -> Vec<u8> {
    let mut memory = vec![fill; 4096];
    let size = sample(&mut memory).unwrap();
    memory.truncate(size);
    memory
}

/// Typed from the Devicetree Specification 0.4, sections 5.2 to 5.5.
#[test]
fn a_small_tree_is_written_word_for_word() {
    let mut memory = [0xff; 200];
    let mut writer = Writer::new(&mut memory, 0x102);
    writer.reserve(0x1_0000_0000, 0x20);
    let size = writer.root(|mut root| {
        root.u32("a", 0x1122_3344);
        root.children().node("node").bytes("a", b"xyz").empty("bc");
    });
    #[rustfmt::skip]
    let words = [
        // magic, totalsize, off_dt_struct, off_dt_strings, off_mem_rsvmap, version,
        // last_comp_version, boot_cpuid_phys, size_dt_strings, size_dt_struct
        0xd00d_feed, 153, 72, 148, 40, 17, 16, 0x102, 5, 76,
        // one reservation, and the one of zeros that ends the block
        1, 0, 0, 0x20, 0, 0, 0, 0,
        // FDT_BEGIN_NODE "", FDT_PROP of 4 bytes with name 0
        1, 0, 3, 4, 0, 0x1122_3344,
        // FDT_BEGIN_NODE "node" with its NUL, FDT_PROP of 3 bytes with name 0
        1, 0x6e6f_6465, 0, 3, 3, 0, 0x7879_7a00,
        // FDT_PROP of 0 bytes with name 2, FDT_END_NODE twice, FDT_END
        3, 0, 2, 2, 2, 9_u32,
    ];
    let mut expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    expected.extend(b"a\0bc\0");
    assert_eq!(size, Ok(expected.len()));
    assert_eq!(memory[..expected.len()], expected);
    assert!(memory[expected.len()..].iter().all(|&byte| byte == 0xff));
}

#[test]
fn nothing_of_what_was_in_the_memory_is_left_in_the_tree() {
    assert_eq!(written(0x00), written(0xff));
}

#[test]
fn a_reader_finds_what_was_written() {
    let blob = written(0xff);
    let fdt = Fdt::new(&blob).unwrap();
    let value = |path: &str, name| fdt.find_node(path).unwrap().property(name).unwrap().value;
    assert_eq!(value("/", "model"), b"a machine\0");
    assert_eq!(value("/empty-handed", "always-on"), b"");
    assert_eq!(value("/empty-handed", "mac"), [1, 2, 3, 4, 5]);
    assert_eq!(value("/bus@a000000", "compatible"), b"first\0second\0");
    assert_eq!(
        value("/bus@a000000/device@1", "reg"),
        [0, 0, 0, 1, 0, 0, 2, 0]
    );
    assert_eq!(
        value("/bus@a000000/device@1", "size"),
        [0, 0, 0, 1, 0x23, 0x45, 0x67, 0x89]
    );
    let names: Vec<&str> = fdt.all_nodes().map(|node| node.name).collect();
    let expected = [
        "/",
        "empty-handed",
        "bus@a000000",
        "device@0",
        "device@1",
        "last",
    ];
    assert_eq!(names, expected);
    let reserved: Vec<_> = fdt.memory_reservations().collect();
    assert_eq!(reserved.len(), 1);
    assert_eq!(reserved[0].address() as usize, 0x1_0000_0000);
    assert_eq!(reserved[0].size(), 0x20);
}

#[test]
fn a_name_is_stored_once() {
    let blob = written(0);
    let at = |word: usize| u32::from_be_bytes(blob[4 * word..][..4].try_into().unwrap()) as usize;
    let strings = &blob[at(3)..][..at(8)];
    let expected = b"#address-cells\0model\0always-on\0mac\0compatible\0reg\0size\0cells\0";
    assert_eq!(strings, expected, "{}", String::from_utf8_lossy(strings));
}

#[test]
fn memory_that_is_a_byte_too_small_is_refused_at_every_length() {
    let size = written(0).len();
    for length in 0..size {
        assert_eq!(sample(&mut vec![0xa5; length]), Err(Full), "{length} bytes");
    }
    assert_eq!(sample(&mut vec![0xa5; size]), Ok(size));
}

#[test]
fn the_message_says_what_is_too_small() {
    assert_eq!(format!("{Full}"), "device tree: no room left for it");
}

#[test]
fn more_names_than_there_is_room_for_are_refused() {
    let written = |count: usize| {
        Writer::new(&mut [0; 4096], 0).root(|mut root| {
            for length in 1..=count {
                let name: &'static str = String::from("n").repeat(length).leak();
                root.empty(name).empty(name);
            }
        })
    };
    assert!(written(64).is_ok());
    assert_eq!(written(65), Err(Full));
}

#[test]
fn a_copied_property_is_the_same_beside_names_of_our_own() {
    let given = written(0);
    let given = crate::spec::fdt::open(&given).unwrap();
    let mut memory = [0xff; 1024];
    let size = Writer::from_tree(&mut memory, 0, &given).root(|mut root| {
        root.u32("own", 1);
        given.root().properties().for_each(|property| {
            root.copy(property);
        });
        root.u32("model", 2);
    });
    let copy = crate::spec::fdt::open(&memory[..size.unwrap()]).unwrap();
    let text = |p: Property| format!("{} = {p}", p.name());
    let properties: Vec<_> = copy.root().properties().map(text).collect();
    let expected = [
        "own = <1>",
        "#address-cells = <2>",
        "model = \"a machine\"",
        "model = <2>",
    ];
    assert_eq!(properties, expected);
    assert!(copy.reservations().eq([(0x1_0000_0000, 0x20)]));
}

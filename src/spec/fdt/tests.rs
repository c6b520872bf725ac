use super::{
    source::{Source, board_trees},
    *,
};
use fdt::{Fdt, node::FdtNode};
use proptest::prelude::*;
use std::{format, string::ToString, vec, vec::Vec};

fn sample() -> Source {
    Source::new()
        .cells("#address-cells", &[1])
        .str("compatible", &["vendor,board", "vendor,soc"])
        .reserve(0x8000_0000, 0x1000)
        .node("aliases", |n| n.str("serial0", &["/soc/uart@9000000"]))
        .node("soc", |n| {
            n.cells("phandle", &[7])
                .node("uart@8000000", |n| n.str("status", &["disabled"]))
                .node("uart@9000000", |n| n.cells("reg", &[0x900_0000, 0x1000]))
                .node("uart", |n| n.flag("plain"))
        })
        .node("cpus", |n| n.node("cpu@0", |n| n.cells("reg", &[0])))
}

/// `blob` opened, or why not.
fn refusal(blob: Vec<u8>) -> Malformed {
    open(&blob).map(|_| ()).unwrap_err()
}

#[test]
fn a_node_is_found_by_its_path_and_its_exact_name_goes_first() {
    let blob = sample().build();
    let tree = open(&blob).unwrap();
    let name = |path| tree.node(path).map(Node::name);
    assert_eq!(name("/"), Some(""));
    assert_eq!(name("/soc/uart@9000000"), Some("uart@9000000"));
    assert_eq!(name("/soc/uart"), Some("uart"));
    assert_eq!(name("/cpus/cpu"), Some("cpu@0"));
    for missing in ["soc", "", "/soc/uart@1", "/nothing", "/soc/uart@9000000/x"] {
        assert_eq!(name(missing), None, "{missing:?}");
    }
}

#[test]
fn a_value_is_read_only_as_what_it_can_be() {
    let blob = Source::new()
        .bytes("unterminated", b"text")
        .bytes("odd", b"\0\0\0\x01\0")
        .str("strings", &["one", "two"])
        .cells("pair", &[1, 2])
        .cells("cell", &[3])
        .bytes("not-utf8", b"\xff\xfe\0")
        .build();
    let tree = open(&blob).unwrap();
    let property = |name| tree.root().property(name).unwrap();
    assert_eq!(property("unterminated").str(), None);
    assert_eq!(property("unterminated").strings().count(), 0);
    assert_eq!(property("not-utf8").str(), None);
    assert_eq!(property("strings").str(), None);
    assert!(property("strings").strings().eq(["one", "two"]));
    assert!(property("odd").cells().is_none());
    assert_eq!(property("odd").u64(), None);
    assert_eq!(property("pair").u32(), None);
    assert_eq!(property("pair").u64(), Some(0x1_0000_0002));
    assert_eq!(property("cell").u64(), Some(3));
    assert!(property("pair").cells().unwrap().eq([1, 2]));
}

#[test]
fn numbers_of_any_width_are_taken_but_none_over_64_bits() {
    let blob = Source::new()
        .cells("reg", &[0, 1, 2, 0x0200_0000, 0, 5, 9])
        .build();
    let tree = open(&blob).unwrap();
    let mut cells = tree.root().property("reg").unwrap().cells().unwrap();
    assert_eq!(cells.number(3), Some(0x1_0000_0002));
    assert_eq!(cells.number(0), Some(0));
    assert_eq!(cells.number(3), None);
    assert_eq!(cells.number(1), Some(9));
    assert_eq!(cells.number(1), None);
    assert_eq!(cells.number(u32::MAX), None);
}

#[test]
fn values_are_printed_as_in_a_source_file() {
    let blob = Source::new()
        .str("strings", &["one", "two"])
        .cells("cells", &[0x900_0000, 64, 0])
        .bytes("bytes", b"\x01\x02\x03")
        .flag("flag")
        .bytes("bell", b"\x07\0")
        .bytes("long", &[b'x'; 1000])
        .build();
    let tree = open(&blob).unwrap();
    let text = |name| tree.root().property(name).unwrap().to_string();
    assert_eq!(text("strings"), r#""one", "two""#);
    assert_eq!(text("cells"), "<0x9000000 64 0>");
    assert_eq!(text("bytes"), "3 bytes");
    assert_eq!(text("flag"), "no value");
    assert_eq!(text("bell"), "2 bytes");
    assert_eq!(text("long"), format!("\"{}\" ...", "x".repeat(64)));
}

#[test]
fn every_node_knows_its_way_from_the_root() {
    let blob = sample().build();
    let tree = open(&blob).unwrap();
    let paths: Vec<_> = tree.nodes().map(|n| n.path().to_string()).collect();
    assert_eq!(
        paths,
        [
            "/",
            "/aliases",
            "/soc",
            "/soc/uart@8000000",
            "/soc/uart@9000000",
            "/soc/uart",
            "/cpus",
            "/cpus/cpu@0"
        ]
    );
    let cpu = tree.node("/cpus/cpu").unwrap();
    assert!(cpu.path().above().iter().map(|n| n.name()).eq(["", "cpus"]));
    assert!(tree.root().path().above().is_empty());
    assert_eq!(tree.by_phandle(7).map(Node::name), Some("soc"));
    assert_eq!(tree.by_phandle(8), None);
    assert_eq!(tree.alias("serial0"), Some("/soc/uart@9000000"));
    assert!(tree.reservations().eq([(0x8000_0000, 0x1000)]));
    assert!(!tree.node("/soc/uart@8000000").unwrap().is_okay());
    assert!(tree.root().is_compatible("vendor,soc"));
    assert!(!tree.root().is_compatible("vendor"));
    assert_eq!(tree.root().address_cells(), Some(1));
    assert_eq!(tree.root().size_cells(), Some(1));
}

#[test]
fn nops_are_passed_over_and_what_follows_the_tree_stays() {
    let nop = |source: Source| source.token(4).token(4);
    let tree = nop(nop(Source::default()).begin(""));
    let tree = nop(nop(tree).cells("a", &[1])).cells("b", &[4, 4]);
    let tree = nop(nop(nop(tree).begin("n")).str("c", &["text"])).end();
    let mut blob = nop(nop(tree).begin("m").end()).build();
    let size = blob.len();
    blob.extend(b"behind");
    let tree = open(&blob).unwrap();
    assert_eq!(tree.size(), size);
    assert!(tree.blob().ends_with(b"behind"));
    assert!(tree.root().properties().map(Property::name).eq(["a", "b"]));
    let b = tree.root().property("b").unwrap();
    assert!(b.cells().unwrap().eq([4, 4]));
    assert!(tree.nodes().map(Node::name).eq(["", "n", "m"]));
    let c = tree.node("/n").unwrap().property("c").unwrap();
    assert_eq!(c.str(), Some("text"));
}

#[test]
fn a_header_that_lies_is_refused() {
    let patched = |at: usize, word: u32| {
        let mut blob = sample().build();
        blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
        refusal(blob)
    };
    let size = sample().build().len();
    assert_eq!(refusal(vec![]), Malformed::Magic { found: 0 });
    assert_eq!(patched(0, 1), Malformed::Magic { found: 1 });
    let short = sample().build()[..20].to_vec();
    assert_eq!(refusal(short), Malformed::Truncated { size: 40, have: 20 });
    let over = size as u32 + 1;
    let truncated = Malformed::Truncated {
        size: size + 1,
        have: size,
    };
    assert_eq!(patched(4, over), truncated);
    for (at, word) in [(20, 16), (24, 18)] {
        let error = patched(at, word);
        assert!(matches!(error, Malformed::Version { .. }), "{error}");
    }
    // Offsets and sizes of the structure, strings and reservation blocks: outside, on top of the
    // header, on top of each other.
    for (at, word) in [
        (8, over),
        (8, 0),
        (12, u32::MAX),
        (12, 60),
        (16, over),
        (16, 0),
        (32, u32::MAX),
        (36, u32::MAX),
        (36, over),
    ] {
        let error = patched(at, word);
        assert!(matches!(error, Malformed::Block { .. }), "{at} {error}");
    }
}

#[test]
fn a_damaged_structure_is_refused() {
    let bad = |source: Source| refusal(source.blob());
    let token = |source: Source, wrong: u32| {
        let error = bad(source);
        assert!(
            matches!(error, Malformed::Token { token, .. } if token == wrong),
            "{error}"
        );
    };
    token(Source::new().token(5), 5);
    token(Source::new().token(9), 9);
    token(Source::default().end(), 2);
    token(Source::default().flag("early"), 3);
    token(Source::default().token(9), 9);
    token(Source::new().end().begin(""), 1);
    token(Source::new().begin("n").end().flag("late"), 3);
    let name = |source: Source| {
        let error = bad(source);
        assert!(matches!(error, Malformed::Name { .. }), "{error}");
    };
    name(Source::default().begin("root"));
    name(Source::new().begin(""));
    name(Source::new().begin("a/b"));
    name(Source::new().begin("a b"));
    name(Source::new().begin("\u{e9}"));
    name(Source::new().begin(&"x".repeat(256)));
    name(Source::new().token(1).raw(b"unterminated"));
    name(Source::new().flag(""));
    name(Source::new().flag("/soc"));
    name(Source::new().flag(&"x".repeat(256)));
    name(Source::new().token(3).token(0).token(1000));
    let overrun = |source: Source| {
        let error = bad(source);
        assert!(matches!(error, Malformed::Overrun { .. }), "{error}");
    };
    overrun(Source::default());
    overrun(Source::new());
    overrun(Source::new().end());
    overrun(Source::new().flag("a").token(3).token(4).token(0));
    overrun(Source::new().flag("a").token(3).token(u32::MAX).token(0));
    overrun(Source::new().flag("a").token(3));
}

#[test]
fn depth_is_limited_to_32() {
    let nested = |depth| {
        let tree = (1..depth).fold(Source::new(), |tree, _| tree.begin("n"));
        (1..depth).fold(tree, |tree, _| tree.end()).build()
    };
    let deep = nested(32);
    let tree = open(&deep).unwrap();
    let last = tree.nodes().last().unwrap();
    assert_eq!(last.path().above().len(), 31);
    assert_eq!(last.path().to_string().len(), 2 * 31);
    assert!(matches!(refusal(nested(33)), Malformed::Depth { .. }));
}

#[test]
fn each_refusal_is_one_line() {
    for error in [
        Malformed::Magic { found: 0 },
        Malformed::Truncated { size: 40, have: 2 },
        Malformed::Version {
            version: 3,
            compatible: 1,
        },
        Malformed::Block {
            block: "strings",
            offset: 40,
        },
        Malformed::Overrun {
            what: "property",
            offset: 40,
        },
        Malformed::Token {
            token: 7,
            offset: 40,
        },
        Malformed::Depth { offset: 40 },
        Malformed::Name { offset: 40 },
    ] {
        let line = error.to_string();
        assert!(!line.contains('\n') && !line.contains("  "), "{line}");
    }
}

/// Everything that can be asked of a tree.
fn read_all(tree: &Tree) -> usize {
    let mut seen = tree.reservations().count() + tree.alias("serial0").map_or(0, str::len);
    for node in tree.nodes() {
        seen += node.path().to_string().len() + node.children().count();
        seen += usize::from(node.is_okay()) + usize::from(node.is_compatible("x"));
        for property in node.properties() {
            seen += property.to_string().len() + property.strings().count();
            seen += property.cells().map_or(0, Iterator::count);
        }
    }
    seen + usize::from(tree.by_phandle(7).is_some())
}

/// Everything that there is below `node`, as we read it and as the crate does.
fn assert_read_alike(node: Node, other: FdtNode) {
    assert_eq!(node.name(), other.name);
    let properties: Vec<_> = other.properties().map(|p| (p.name, p.value)).collect();
    assert!(
        node.properties()
            .map(|p| (p.name(), p.bytes()))
            .eq(properties.iter().copied())
    );
    for (name, _) in &properties {
        let first = properties.iter().find(|(other, _)| other == name);
        let found = node.property(name).map(|p| (p.name(), p.bytes()));
        assert_eq!(found.as_ref(), first);
    }
    let mut others = other.children();
    for child in node.children() {
        assert_read_alike(child, others.next().unwrap());
    }
    assert!(others.next().is_none());
}

/// Compares us with an independent reader. There is nothing to compare when the tree has FDT_NOPs, which the crate
/// does not expect everywhere.
fn is_compared_with_the_crate(tree: &Tree) -> bool {
    let words = |bytes: usize| bytes.div_ceil(4);
    let node_words = |node: Node| {
        let properties = node.properties().map(|p| 3 + words(p.bytes().len()));
        2 + words(node.name().len() + 1) + properties.sum::<usize>()
    };
    let read = tree.nodes().map(node_words).sum::<usize>() + 1;
    let has_nops = read != check::word(tree.blob(), 36).unwrap() as usize / 4;
    if !has_nops {
        let fdt = Fdt::new(tree.blob()).unwrap();
        assert_read_alike(tree.root(), fdt.find_node("/").unwrap());
        let names = fdt.all_nodes().skip(1).map(|node| node.name);
        assert!(tree.nodes().skip(1).map(Node::name).eq(names));
    }
    !has_nops
}

/// A tree that grows by a property, a child or the end of a node at a time.
fn any_tree() -> impl Strategy<Value = Vec<u8>> {
    let step = (
        0..3,
        "[!-.0-~]{1,9}",
        prop::collection::vec(any::<u8>(), 0..9),
    );
    prop::collection::vec(step, 0..60).prop_map(|steps| {
        let (mut tree, mut depth, mut fresh) = (Source::new(), 1, true);
        for (kind, name, value) in steps {
            match kind {
                0 if fresh => tree = tree.bytes(&name, &value),
                1 if depth < MAX_DEPTH => {
                    (tree, depth, fresh) = (tree.begin(&name), depth + 1, true);
                }
                2 if depth > 1 => (tree, depth, fresh) = (tree.end(), depth - 1, false),
                _ => {}
            }
        }
        (1..depth).fold(tree, |tree, _| tree.end()).build()
    })
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_tree_no_query_fails(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        words in prop::collection::vec((any::<prop::sample::Index>(), 0u32..10), 0..3),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut blob = sample().build();
        for (at, byte) in edits {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        for (at, token) in words {
            let at = at.index(blob.len() / 4) * 4;
            blob[at..at + 4].copy_from_slice(&token.to_be_bytes());
        }
        if cut {
            blob.truncate(length.index(blob.len()));
        }
        if let Ok(tree) = open(&blob) {
            read_all(&tree);
            is_compared_with_the_crate(&tree);
        }
    }

    #[test]
    fn a_tree_is_read_as_the_crate_reads_it(blob in any_tree()) {
        prop_assert!(is_compared_with_the_crate(&open(&blob).unwrap()));
    }

    #[test]
    fn random_structure_blocks_are_refused_or_readable(
        tokens in prop::collection::vec(prop_oneof![4 => 0u32..5, 1 => Just(9), 1 => any::<u32>()], 0..40),
    ) {
        let source = tokens.into_iter().fold(Source::new().flag("a"), Source::token);
        let blob = source.build();
        if let Ok(tree) = open(&blob) {
            read_all(&tree);
            is_compared_with_the_crate(&tree);
        }
    }
}

#[test]
fn the_device_trees_of_linux_are_accepted_and_read_as_the_crate_does() {
    for path in board_trees() {
        let blob = std::fs::read(&path).unwrap();
        let tree = open(&blob).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(tree.nodes().count() > 1, "{}", path.display());
        assert!(tree.root().property("compatible").is_some());
        assert!(is_compared_with_the_crate(&tree), "{}", path.display());
    }
}

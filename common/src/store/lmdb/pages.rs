//! Whether LMDB may read a file: its pages, checked without LMDB.
//!
//! LMDB believes its pages. A page number, an offset or a length that was damaged makes it read, or write, wherever
//! that leads: outside of the page, of the map, of the file. So the structure is checked first, byte by byte, by
//! code that believes nothing: the two meta pages, every page of every B-tree of one committed state, the list of
//! free pages, and that each page of the file is exactly one of these. What passes LMDB reads safely, whatever
//! the values are; those have checksums, ids and a replay of their own ([`super::check`], [`crate::chain`]).
//!
//! Pages of a committed state are never overwritten while a transaction reads it, so this may run while other
//! processes write. Only the pages of the trees are read, and the first bytes of those that hold long values: a few
//! percent of a large store.
//!
//! The layout is that of LMDB 0.9 on a machine of 64 bits, in its own byte order (`mdb.c`, "Page Flags" to
//! `MDB_meta`).

use std::io::{self, Read, Seek, SeekFrom};

/// The length of a page's header.
const HEADER_BYTES: usize = 16;
/// The length of a node's header.
const NODE_BYTES: usize = 8;
/// The length of a tree's description.
const TREE_BYTES: usize = 48;
/// The part of a meta page that means something.
const META_BYTES: usize = 152;
/// How many meta pages a file begins with.
const META_PAGES: u64 = 2;
/// The longest key.
const MAX_KEY_BYTES: usize = 511;
/// The most levels of a tree: as many as LMDB's cursors have room for.
const MAX_DEPTH: u16 = 32;
/// The page sizes that LMDB can have.
const PAGE_SIZES: [u32; 7] = [512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768];
/// The page size to assume of a file whose meta pages do not tell.
pub(super) const USUAL_PAGE_BYTES: usize = 4_096;

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
/// The flag of the tree of free pages: its keys are integers.
const INTEGER_KEYS: u16 = 0x08;
/// The root of an empty tree.
const NO_PAGE: u64 = u64::MAX;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;

/// The node's value lies on pages of its own.
const LONG_VALUE: u16 = 0x01;
/// The node's value describes a tree.
const TREE_VALUE: u16 = 0x02;

/// Why LMDB must not read a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is empty, or is no database of LMDB at all.
    #[error("its first pages are none of a database")]
    NoDatabase,
    /// A page is not as LMDB writes it.
    #[error("page {page}: {what}")]
    Page {
        /// Which page.
        page: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

fn wrong<T>(page: u64, what: &'static str) -> Result<T, PageError> {
    Err(PageError::Page { page, what })
}

/// What one of the meta pages says: where a committed state begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_bytes: usize,
    /// The number of the transaction that committed it.
    pub(super) transaction: u64,
    last_page: u64,
    map_bytes: u64,
    free: Tree,
    main: Tree,
}

/// The description of a B-tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tree {
    flags: u16,
    depth: u16,
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
    root: u64,
}

/// What was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// Pages in use.
    pub used: u64,
    /// Pages that the next writes will use.
    pub free: u64,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&bytes[at..at + N]);
    number
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(number(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(number(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(number(bytes, at))
}

impl Tree {
    fn read(bytes: &[u8]) -> Self {
        Self {
            flags: u16_at(bytes, 4),
            depth: u16_at(bytes, 6),
            branches: u64_at(bytes, 8),
            leaves: u64_at(bytes, 16),
            overflows: u64_at(bytes, 24),
            entries: u64_at(bytes, 32),
            root: u64_at(bytes, 40),
        }
    }
}

impl Meta {
    /// Reads the meta page with this number from where it begins.
    fn read(page: u64, bytes: &[u8; META_BYTES]) -> Result<Self, PageError> {
        if u32_at(bytes, 16) != MAGIC {
            return Err(PageError::NoDatabase);
        }
        if u32_at(bytes, 20) != VERSION {
            return wrong(page, "it has another version of the database's format");
        }
        if u64_at(bytes, 0) != page || u16_at(bytes, 10) != META {
            return wrong(page, "it is no meta page");
        }
        let page_bytes = u32_at(bytes, 40);
        if !PAGE_SIZES.contains(&page_bytes) {
            return wrong(page, "no database has pages of this size");
        }
        let (free, main) = (Tree::read(&bytes[40..]), Tree::read(&bytes[40 + TREE_BYTES..]));
        if (free.flags, main.flags) != (INTEGER_KEYS, 0) {
            return wrong(page, "it has flags that no store has");
        }
        let meta = Self {
            page_bytes: page_bytes as usize,
            transaction: u64_at(bytes, 144),
            last_page: u64_at(bytes, 136),
            map_bytes: u64_at(bytes, 32),
            free,
            main,
        };
        // LMDB maps so much, and trusts every page below that.
        let end = meta.last_page.checked_add(1).and_then(|pages| pages.checked_mul(u64::from(page_bytes)));
        if meta.last_page < META_PAGES - 1 || end.is_none_or(|end| end > meta.map_bytes) {
            return wrong(page, "its last page is outside of its map");
        }
        Ok(meta)
    }
}

/// The two meta pages of a file. They are what two transactions in a row wrote, each its own: LMDB reads the wrong
/// one, and with it pages that are overwritten, if that is not so.
pub(super) fn metas(file: &mut (impl Read + Seek)) -> Result<[Meta; 2], PageError> {
    let first = match read_at(file, 0).and_then(|bytes| Meta::read(0, &bytes)) {
        Err(PageError::NoDatabase) => {
            return match second_alone(file) {
                Some(_) => wrong(0, "it is no meta page"),
                None => Err(PageError::NoDatabase),
            };
        }
        first => first?,
    };
    let second = match read_at(file, first.page_bytes as u64).and_then(|bytes| Meta::read(1, &bytes)) {
        Err(PageError::NoDatabase) => return wrong(1, "it is no meta page"),
        second => second?,
    };
    if first.page_bytes != second.page_bytes {
        return wrong(1, "its pages have another size than those of page 0");
    }
    let (one, other) = (first.transaction, second.transaction);
    let new = (one, other) == (0, 0);
    if !new && (one % 2 != 0 || other % 2 != 1 || one.abs_diff(other) != 1) {
        return wrong(u64::from(one % 2 == 0), "its transaction is not the one before or after the other's");
    }
    Ok([first, second])
}

/// The page size of a file, by whichever of its meta pages tells; [`USUAL_PAGE_BYTES`] if none does.
pub(super) fn page_bytes(file: &mut (impl Read + Seek)) -> usize {
    let first = read_at(file, 0).and_then(|bytes| Meta::read(0, &bytes));
    first.ok().or_else(|| second_alone(file)).map_or(USUAL_PAGE_BYTES, |meta| meta.page_bytes)
}

/// The second meta page of a file whose first does not tell where it begins: one page after that, however long a page
/// is here.
fn second_alone(file: &mut (impl Read + Seek)) -> Option<Meta> {
    PAGE_SIZES.into_iter().find_map(|page_bytes| {
        let second = read_at(file, page_bytes.into()).and_then(|bytes| Meta::read(1, &bytes)).ok()?;
        (second.page_bytes == page_bytes as usize).then_some(second)
    })
}

fn read_at<const N: usize>(file: &mut (impl Read + Seek), offset: u64) -> Result<[u8; N], PageError> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(offset))?;
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(PageError::NoDatabase),
        read => Ok(read.map(|()| bytes)?),
    }
}

/// Checks all pages of the state that begins at this meta page. `file_bytes` is how long the file is.
pub(super) fn check(
    file: &mut (impl Read + Seek),
    file_bytes: u64,
    meta: &Meta,
) -> Result<PageCounts, PageError> {
    let mut walk = Walk::begin(file, file_bytes, meta)?;
    let mut free = 0;
    let mut release = |walk: &mut Walk<_>, page: u64, key: &[u8], value: Value| {
        let transaction = u64_at(key, 0);
        let list = walk.value(page, &value)?;
        if transaction > meta.transaction || list.len() < 8 || !list.len().is_multiple_of(8) {
            return wrong(page, "it holds a list of free pages that is none");
        }
        let count = u64_at(&list, 0);
        if count > (list.len() / 8 - 1) as u64 {
            return wrong(page, "it holds a list of free pages that is too long");
        }
        let mut above = u64::MAX;
        for number in 1..=count as usize {
            let freed = u64_at(&list, number * 8);
            if freed >= above {
                return wrong(page, "it holds a list of free pages that is not sorted");
            }
            above = freed;
            walk.seen.mark(page, freed, 1)?;
            free += 1;
        }
        Ok(())
    };
    walk.tree(0, &meta.free, Keys::Integers, &mut release)?;
    walk.tables(meta, |_| true)?;
    match walk.seen.first_missing() {
        Some(page) => wrong(page, "it is neither in use nor free"),
        None => Ok(PageCounts { used: walk.seen.pages - free, free }),
    }
}

/// Checks the pages of all tables of a state but this one, and not those that are free: enough to read the others.
pub(super) fn check_all_tables_but(
    file: &mut (impl Read + Seek),
    file_bytes: u64,
    meta: &Meta,
    name: &str,
) -> Result<(), PageError> {
    Walk::begin(file, file_bytes, meta)?.tables(meta, |table| table != name.as_bytes())
}

/// Which pages were reached.
struct Seen {
    bits: Vec<u64>,
    pages: u64,
}

impl Seen {
    fn new(pages: u64) -> Self {
        let mut seen = Self { bits: vec![0; pages.div_ceil(64) as usize], pages };
        (0..META_PAGES.min(pages)).for_each(|page| seen.bits[0] |= 1 << page);
        seen
    }

    /// Marks pages that another leads to; none may have been reached before.
    fn mark(&mut self, from: u64, first: u64, count: u64) -> Result<(), PageError> {
        let end = first.checked_add(count).filter(|end| *end <= self.pages);
        let Some(end) = end else { return wrong(from, "it leads to a page that there is not") };
        for page in first..end {
            let (word, bit) = (&mut self.bits[(page / 64) as usize], 1 << (page % 64));
            if *word & bit != 0 {
                return wrong(page, "it is reached twice");
            }
            *word |= bit;
        }
        Ok(())
    }

    fn first_missing(&self) -> Option<u64> {
        (0..self.pages).find(|page| self.bits[(page / 64) as usize] & (1 << (page % 64)) == 0)
    }
}

/// How the keys of a tree are ordered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Bytes,
    Integers,
}

impl Keys {
    fn ascend(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Bytes => one < other,
            Self::Integers => u64_at(one, 0) < u64_at(other, 0),
        }
    }
}

/// The value of a leaf's node.
enum Value<'a> {
    Short(&'a [u8]),
    /// It begins on this page, after the header.
    Long {
        page: u64,
        bytes: usize,
    },
    Tree(Tree),
}

/// What is to be done with the nodes of leaves: given the page, the key and the value.
type Visit<'v, R> = &'v mut dyn FnMut(&mut Walk<'_, R>, u64, &[u8], Value) -> Result<(), PageError>;

struct Walk<'f, R> {
    file: &'f mut R,
    page_bytes: usize,
    seen: Seen,
}

/// One tree, while it is walked.
struct Walked {
    keys: Keys,
    depth: u16,
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
}

impl<'f, R: Read + Seek> Walk<'f, R> {
    fn begin(file: &'f mut R, file_bytes: u64, meta: &Meta) -> Result<Self, PageError> {
        let pages = meta.last_page + 1;
        // A file may end before its last pages if these are free. Then they are listed, eight bytes each, so a number
        // that was damaged asks for no more memory than the file's length allows.
        if pages > file_bytes / meta.page_bytes as u64 + file_bytes / 8 {
            return wrong(0, "its last page is far beyond the end of the file");
        }
        Ok(Self { file, page_bytes: meta.page_bytes, seen: Seen::new(pages) })
    }

    /// Goes through the tree of the tables' names, and the tables that are asked for.
    fn tables(&mut self, meta: &Meta, is_asked_for: impl Fn(&[u8]) -> bool) -> Result<(), PageError> {
        let mut tables = Vec::new();
        self.tree(0, &meta.main, Keys::Bytes, &mut |_, page, name, value| {
            match value {
                Value::Tree(tree) if tree.flags == 0 => {
                    tables.extend(is_asked_for(name).then_some((page, tree)))
                }
                Value::Tree(_) => return wrong(page, "it holds a table that no store has"),
                // Not of a store, which is for others to say.
                Value::Short(_) | Value::Long { .. } => {}
            }
            Ok(())
        })?;
        for (page, tree) in &tables {
            self.tree(*page, tree, Keys::Bytes, &mut |_, page, _, value| match value {
                Value::Tree(_) => wrong(page, "it holds a table within a table"),
                Value::Short(_) | Value::Long { .. } => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Reads from the start of a page on.
    fn read(&mut self, page: u64, bytes: usize) -> Result<Vec<u8>, PageError> {
        let mut buffer = vec![0; bytes];
        self.file.seek(SeekFrom::Start(page * self.page_bytes as u64))?;
        match self.file.read_exact(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                wrong(page, "it is beyond the end of the file")
            }
            read => Ok(read.map(|()| buffer)?),
        }
    }

    /// The bytes of a value.
    fn value(&mut self, page: u64, value: &Value) -> Result<Vec<u8>, PageError> {
        match value {
            Value::Short(bytes) => Ok(bytes.to_vec()),
            Value::Long { page, bytes } => {
                Ok(self.read(*page, HEADER_BYTES + bytes)?.split_off(HEADER_BYTES))
            }
            Value::Tree(_) => wrong(page, "it holds a table where a value belongs"),
        }
    }

    /// Goes through a tree that `from` describes.
    fn tree(&mut self, from: u64, tree: &Tree, keys: Keys, visit: Visit<R>) -> Result<(), PageError> {
        let Tree { depth, root, .. } = *tree;
        let (branches, leaves, overflows, entries) = Default::default();
        let mut walked = Walked { keys, depth, branches, leaves, overflows, entries };
        if root != NO_PAGE {
            if depth == 0 || depth > MAX_DEPTH {
                return wrong(from, "it describes a tree of a depth that none has");
            }
            self.seen.mark(from, root, 1)?;
            self.subtree(root, 1, (None, None), &mut walked, visit)?;
        } else if depth != 0 {
            return wrong(from, "it describes a tree that is empty and is not");
        }
        let counted = (walked.branches, walked.leaves, walked.overflows, walked.entries);
        if counted != (tree.branches, tree.leaves, tree.overflows, tree.entries) {
            return wrong(from, "it describes a tree that has another number of pages or entries");
        }
        Ok(())
    }

    /// Goes through the part of a tree below a page, whose keys are within bounds.
    fn subtree(
        &mut self,
        page: u64,
        level: u16,
        (lowest, end): (Option<&[u8]>, Option<&[u8]>),
        walked: &mut Walked,
        visit: Visit<R>,
    ) -> Result<(), PageError> {
        let bytes = self.read(page, self.page_bytes)?;
        if u64_at(&bytes, 0) != page {
            return wrong(page, "it has the number of another page");
        }
        let leaf = match u16_at(&bytes, 10) {
            LEAF if level == walked.depth => true,
            BRANCH if level < walked.depth => false,
            _ => return wrong(page, "it is a page of another kind"),
        };
        let nodes = nodes(page, &bytes, leaf)?;
        // A branch of one is what the tree of free pages may be left with.
        let least = if leaf || walked.keys == Keys::Integers { 1 } else { 2 };
        if nodes.len() < least {
            return wrong(page, "it has too few nodes");
        }
        let mut previous = None;
        for (index, node) in nodes.iter().enumerate() {
            // The first key of a branch stands for all that are less than the second, whatever it says.
            if !leaf && index == 0 {
                continue;
            }
            if walked.keys == Keys::Integers && node.key.len() != 8 || node.key.is_empty() {
                return wrong(page, "it has a key that is too long or too short");
            }
            let above = match previous.or(lowest) {
                // What a branch leads to may begin with the branch's key.
                Some(before) if previous.is_none() => !walked.keys.ascend(node.key, before),
                Some(before) => walked.keys.ascend(before, node.key),
                None => true,
            };
            if !above || end.is_some_and(|end| !walked.keys.ascend(node.key, end)) {
                return wrong(page, "its keys are not in order");
            }
            previous = Some(node.key);
        }
        if leaf {
            walked.leaves += 1;
            walked.entries += nodes.len() as u64;
            for node in &nodes {
                let value = self.leaf_value(page, node, walked)?;
                visit(self, page, node.key, value)?;
            }
            return Ok(());
        }
        walked.branches += 1;
        for (index, node) in nodes.iter().enumerate() {
            let below = if index == 0 { lowest } else { Some(node.key) };
            let above = nodes.get(index + 1).map(|next| next.key).or(end);
            self.seen.mark(page, node.child, 1)?;
            self.subtree(node.child, level + 1, (below, above), walked, visit)?;
        }
        Ok(())
    }

    fn leaf_value<'n>(
        &mut self,
        page: u64,
        node: &Node<'n>,
        walked: &mut Walked,
    ) -> Result<Value<'n>, PageError> {
        match node.flags {
            0 => Ok(Value::Short(node.value)),
            TREE_VALUE if node.value.len() == TREE_BYTES => Ok(Value::Tree(Tree::read(node.value))),
            LONG_VALUE => {
                let first = u64_at(node.value, 0);
                // Marked as one first: its header says how many there are.
                self.seen.mark(page, first, 1)?;
                let header = self.read(first, HEADER_BYTES)?;
                if u64_at(&header, 0) != first || u16_at(&header, 10) != OVERFLOW {
                    return wrong(first, "it is no page of a long value");
                }
                let pages = u64::from(u32_at(&header, 12));
                let needed = (HEADER_BYTES + node.value_bytes).div_ceil(self.page_bytes) as u64;
                if pages < needed {
                    return wrong(first, "it is followed by too few pages for its value");
                }
                self.seen.mark(page, first + 1, pages - 1)?;
                walked.overflows += pages;
                // A file may end before pages that are free, and nowhere else.
                let end = (first + pages) * self.page_bytes as u64;
                if self.file.seek(SeekFrom::End(0))? < end {
                    return wrong(first, "its value goes on beyond the end of the file");
                }
                Ok(Value::Long { page: first, bytes: node.value_bytes })
            }
            _ => wrong(page, "it has a node of a kind that no store has"),
        }
    }
}

/// One entry of a page.
#[derive(Debug)]
pub(super) struct Node<'a> {
    flags: u16,
    pub(super) key: &'a [u8],
    /// In a leaf: the value, or the number of the page where it begins.
    value: &'a [u8],
    /// How long the value is, wherever it is.
    value_bytes: usize,
    /// In a branch: the page that it leads to.
    child: u64,
    /// Where it begins in the page, and where the next may.
    pub(super) place: (usize, usize),
}

impl<'a> Node<'a> {
    /// The node that begins here; `None` when it does not fit the page.
    fn read(page: &'a [u8], at: usize, leaf: bool) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = *page.get(at..)?.first_chunk::<NODE_BYTES>()?;
        let [low, high] = [[a, b], [c, d]].map(u16::from_ne_bytes);
        let [top, key_bytes] = [[e, f], [g, h]].map(u16::from_ne_bytes);
        let key = page.get(at + NODE_BYTES..)?.get(..key_bytes.into())?;
        let (mut flags, mut value_bytes, mut child) = (0, 0, 0);
        let mut value = &[][..];
        if leaf {
            flags = top;
            value_bytes = usize::from(low) | usize::from(high) << 16;
            let here = if flags == LONG_VALUE { 8 } else { value_bytes };
            value = page.get(at + NODE_BYTES + key.len()..)?.get(..here)?;
        } else {
            child = u64::from(low) | u64::from(high) << 16 | u64::from(top) << 32;
        }
        // Nodes begin at even places.
        let end = (at + NODE_BYTES + key.len() + value.len()).next_multiple_of(2);
        (key.len() <= MAX_KEY_BYTES && end <= page.len()).then_some(Self {
            flags,
            key,
            value,
            value_bytes,
            child,
            place: (at, end),
        })
    }

    /// Where in the file the value of a leaf's node is, and how long. `None` for what is no plain value.
    pub(super) fn value_place(&self, page: u64, page_bytes: usize) -> Option<(u64, usize)> {
        match self.flags {
            0 => {
                let within = self.place.0 + NODE_BYTES + self.key.len();
                Some((page * page_bytes as u64 + within as u64, self.value.len()))
            }
            LONG_VALUE => {
                let start = u64_at(self.value, 0).checked_mul(page_bytes as u64)?;
                Some((start.checked_add(HEADER_BYTES as u64)?, self.value_bytes))
            }
            _ => None,
        }
    }
}

/// The nodes of a page, in order. They fill the page's end without gaps, as LMDB keeps them.
fn nodes(page: u64, bytes: &[u8], leaf: bool) -> Result<Vec<Node<'_>>, PageError> {
    let (lower, upper) = (usize::from(u16_at(bytes, 12)), usize::from(u16_at(bytes, 14)));
    if lower < HEADER_BYTES || lower % 2 != 0 || lower > upper || upper > bytes.len() {
        return wrong(page, "its free space is outside of it");
    }
    let count = (lower - HEADER_BYTES) / 2;
    let mut nodes = Vec::with_capacity(count);
    // Where each ends, by where it begins, which is an even place.
    let mut ends = vec![0_u16; bytes.len() / 2 + 1];
    for at in pointers(bytes, lower) {
        let node = Node::read(bytes, at, leaf).filter(|_| at % 2 == 0 && at >= upper);
        let Some(node) = node else { return wrong(page, "it has a node that does not fit it") };
        // The largest page has 32,768 bytes.
        ends[at / 2] = node.place.1 as u16;
        nodes.push(node);
    }
    // As many steps as there are nodes lead from the first to the end, so none is passed over.
    if (0..count).fold(upper, |at, _| usize::from(ends[at / 2])) != bytes.len() {
        return wrong(page, "its nodes overlap or leave gaps");
    }
    Ok(nodes)
}

fn pointers(bytes: &[u8], lower: usize) -> impl Iterator<Item = usize> {
    let pointers = bytes[..lower].get(HEADER_BYTES..).unwrap_or_default();
    pointers.as_chunks().0.iter().map(|pointer| usize::from(u16::from_ne_bytes(*pointer)))
}

/// Whatever nodes of a kind can be made out in a page that may be damaged, or no leaf at all, none of which overlap: for
/// who checks their values.
///
/// First those that the page points to, from its end down: there the first are that were written, and of two that overlap
/// it is the later that is as long as it says by damage. Then those between them: nodes lie one after the other, so that
/// the pointers can be done without.
pub(super) fn possible_nodes<'p>(bytes: &'p [u8], is_of_kind: impl Fn(&Node) -> bool) -> Vec<Node<'p>> {
    let (lower, upper) = (usize::from(u16_at(bytes, 12)), usize::from(u16_at(bytes, 14)));
    let mut pointed: Vec<_> = pointers(bytes, lower.min(bytes.len() & !1)).collect();
    pointed.sort_unstable();
    pointed.dedup();
    let mut nodes: Vec<Node> = Vec::new();
    for node in pointed.into_iter().rev().filter_map(|at| Node::read(bytes, at, true)) {
        let free_up_to = nodes.last().map_or(bytes.len(), |later| later.place.0);
        if node.place.1 <= free_up_to && is_of_kind(&node) {
            nodes.push(node);
        }
    }
    let (mut between, mut at) = (Vec::new(), upper.max(HEADER_BYTES));
    let end = (bytes.len(), bytes.len());
    for (start, after) in nodes.iter().rev().map(|node| node.place).chain([end]) {
        while let Some(node) = Node::read(bytes, at, true).filter(|node| node.place.1 <= start) {
            at = node.place.1;
            between.extend(is_of_kind(&node).then_some(node));
        }
        at = at.max(after);
    }
    nodes.append(&mut between);
    nodes
}

/// Whether the page with this number says that it has it, and is a leaf. Bytes of others, in long values, seldom do.
pub(super) fn is_leaf(page: u64, bytes: &[u8]) -> bool {
    u64_at(bytes, 0) == page && u16_at(bytes, 10) == LEAF
}

#[cfg(test)]
mod tests;

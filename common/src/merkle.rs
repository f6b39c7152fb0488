//! The Merkle tree of RFC 6962, section 2.1: leaf and node hashes cannot be taken for each other, and no
//! two lists of leaves share a root.

use crate::hash::{MerkleRoot, sha256, sha256_many};

/// The longest audit path of a tree with at most 2^32 leaves.
pub const MAX_PATH: usize = 32;

/// The hash of a leaf's bytes.
pub fn leaf(bytes: &[u8]) -> [u8; 32] {
    sha256(&[&[0], bytes])
}

/// The hashes of many leaves, from the bytes of each.
pub fn leaves(encodings: &[&[u8]]) -> Vec<[u8; 32]> {
    sha256_many(&[0], encodings)
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[&[1], left, right])
}

/// The level above: neighbours in pairs, an odd last one as it is.
fn parents(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let (pairs, odd) = level.as_chunks::<2>();
    let pairs: Vec<&[u8]> = pairs.iter().map(|pair| pair.as_flattened()).collect();
    let mut parents = sha256_many(&[1], &pairs);
    parents.extend(odd);
    parents
}

/// The root over these leaf hashes; of none, SHA-256 of nothing.
///
/// Pairing neighbours level by level and carrying an odd last one up gives the RFC's tree, which splits at
/// the largest power of two below the number of leaves.
pub fn root(leaves: &[[u8; 32]]) -> MerkleRoot {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    MerkleRoot::from_bytes(level.first().copied().unwrap_or_else(|| sha256(&[])))
}

/// The audit path of leaf `index`, from the leaf's sibling upwards. `None` when there is no such leaf.
pub fn path(leaves: &[[u8; 32]], index: usize) -> Option<Vec<[u8; 32]>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut level, mut index, mut path) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        path.extend(level.get(index ^ 1));
        level = parents(&level);
        index /= 2;
    }
    Some(path)
}

/// The root that `path` proves for the leaf hash at `index` of `count`, or `None` when the path has the
/// wrong length for such a tree.
pub fn root_from_path(leaf: [u8; 32], index: u32, count: u32, path: &[[u8; 32]]) -> Option<MerkleRoot> {
    if index >= count {
        return None;
    }
    let (mut hash, mut index, mut last, mut path) = (leaf, index, count - 1, path.iter());
    while last > 0 {
        if index % 2 == 1 {
            hash = node(path.next()?, &hash);
        } else if index < last {
            hash = node(&hash, path.next()?);
        }
        (index, last) = (index / 2, last / 2);
    }
    path.next().is_none().then_some(MerkleRoot::from_bytes(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known_leaves() -> Vec<[u8; 32]> {
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
            .iter()
            .map(|text| leaf(&hex::decode(text).unwrap()))
            .collect()
    }

    #[test]
    fn known_roots_of_rfc_6962_trees() {
        for (count, root_text) in [
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(root(&known_leaves()[..count]).to_string(), root_text, "{count} leaves");
        }
    }

    /// The RFC's own recursive definition, as the model.
    fn model(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves.len() {
            0 => sha256(&[]),
            1 => leaves[0],
            n => {
                let split = n.next_power_of_two() / 2;
                node(&model(&leaves[..split]), &model(&leaves[split..]))
            }
        }
    }

    proptest! {
        #[test]
        fn roots_equal_the_recursive_definition_and_every_leaf_has_a_proof(count in 1_usize..70, other in 0_usize..70) {
            let leaves: Vec<[u8; 32]> = (0..count).map(|i| leaf(&[i as u8])).collect();
            let root = root(&leaves);
            prop_assert_eq!(*root.as_bytes(), model(&leaves));
            for (i, hash) in leaves.iter().enumerate() {
                let path = path(&leaves, i).unwrap();
                prop_assert!(path.len() <= MAX_PATH);
                prop_assert_eq!(root_from_path(*hash, i as u32, count as u32, &path), Some(root));
                let elsewhere = root_from_path(*hash, other as u32, count as u32, &path);
                prop_assert!(other == i || elsewhere != Some(root));
                let mut long = path.clone();
                long.push([0; 32]);
                prop_assert_eq!(root_from_path(*hash, i as u32, count as u32, &long), None);
            }
        }
    }
}

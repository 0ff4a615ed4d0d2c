//! Merkle trees of RFC 9162 section 2.1 over leaf hashes: the root, the path of one leaf to it, and the check of a path.

use ring::digest::{Context, SHA256};

use super::frame::{Hash, finish};

/// Longest path taken for real: a tree has fewer than 2^64 leaves.
pub const MAX_PATH: usize = 64;

/// A tree to which leaves are added; holds one hash for each power of two in the number of leaves.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Roots of the whole subtrees, the largest first.
    subtrees: Vec<Hash>,
    size: u64,
}

impl Tree {
    /// Adds a leaf, by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        // As a binary counter carries: each one at its end is a subtree as large as the one that has just become whole.
        for _ in 0..self.size.trailing_ones() {
            root = self.subtrees.pop().map_or(root, |left| node(&left, &root));
        }
        self.subtrees.push(root);
        self.size += 1;
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root; the hash of nothing when there is no leaf.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.subtrees.iter().rev();
        let smallest = subtrees.next().copied();
        smallest.map_or_else(
            || finish(Context::new(&SHA256)),
            |smallest| subtrees.fold(smallest, |right, left| node(left, &right)),
        )
    }
}

impl Extend<Hash> for Tree {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        for leaf in leaves {
            self.push(leaf);
        }
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        tree.extend(leaves);
        tree
    }
}

/// The path from the leaf of that index up to the root: the nodes that are hashed with it, the lowest first. `None` when
/// there is no such leaf.
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    let mut at = index;
    let mut level = leaves.to_vec();
    let mut path = Vec::new();
    level.get(index)?;
    while level.len() > 1 {
        path.extend(level.get(at ^ 1));
        // A last node without a neighbour rises as it is.
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(left, right),
                alone => alone.first().copied().unwrap_or_default(),
            })
            .collect();
        at /= 2;
    }
    Some(path)
}

/// Whether a leaf stands at that index of the tree of that size and root: RFC 9162 section 2.1.3.2.
pub fn holds(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for step in path {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            hash = node(step, &hash);
            // The node has risen without a neighbour through the levels where it was the last and even.
            while at % 2 == 0 && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            hash = node(&hash, step);
        }
        at /= 2;
        last /= 2;
    }
    last == 0 && hash == *root
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    finish(context)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::frame::leaf;

    /// Certificate Transparency's reference tree: its entries, and the root after each.
    const REFERENCE: [(&str, &str); 8] = [
        (
            "",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        ),
        (
            "00",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        ),
        (
            "10",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        ),
        (
            "2021",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
        (
            "3031",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        ),
        (
            "40414243",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        ),
        (
            "5051525354555657",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        ),
        (
            "606162636465666768696a6b6c6d6e6f",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ),
    ];

    /// Its published paths: (index, size, path).
    const PATHS: [(usize, usize, &[&str]); 5] = [
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            3,
            &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        ),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    fn reference_leaves() -> Vec<Hash> {
        let entries = REFERENCE.iter();
        entries
            .map(|(entry, _)| leaf(&hex::decode(entry).expect("hex")))
            .collect()
    }

    /// The definition of RFC 9162 section 2.1.1, word for word.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => finish(Context::new(&SHA256)),
            [only] => *only,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
            }
        }
    }

    /// The definition of section 2.1.3.1.
    fn naive_path(leaves: &[Hash], index: usize) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (below, beside) = if index < k {
            (naive_path(&leaves[..k], index), naive_root(&leaves[k..]))
        } else {
            (naive_path(&leaves[k..], index - k), naive_root(&leaves[..k]))
        };
        [below, vec![beside]].concat()
    }

    #[test]
    fn roots_and_paths_are_those_of_certificate_transparency() {
        let leaves = reference_leaves();
        // printf '' | openssl dgst -sha256
        assert_eq!(
            hex::encode(Tree::default().root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (size, (_, root)) in (1..).zip(REFERENCE) {
            let tree: Tree = leaves[..size].iter().copied().collect();
            assert_eq!(hex::encode(tree.root()), root, "of {size}");
            assert_eq!(tree.size(), size as u64);
        }
        for (index, size, expected) in PATHS {
            let path = path(&leaves[..size], index).expect("a leaf");
            let path: Vec<String> = path.iter().map(hex::encode).collect();
            assert_eq!(path, expected, "{index} of {size}");
        }
        assert_eq!(path(&leaves, 8), None);
        assert_eq!(path(&[], 0), None);
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_nothing_else() {
        let leaves: Vec<Hash> = (0_u8..40).map(|number| leaf(&[number])).collect();
        for size in 1..=leaves.len() {
            let leaves = &leaves[..size];
            let root = naive_root(leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let path = path(leaves, index).expect("a leaf");
                let claim = |at: u64, size: u64, path: &[Hash]| holds(leaf, at, size, path, &root);
                let (at, size) = (index as u64, size as u64);
                assert!(claim(at, size, &path));
                for other in (0..size + 2).filter(|&other| other != at) {
                    assert!(!claim(other, size, &path), "{at} of {size} taken for {other}");
                }
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!claim(at, size, shorter));
                }
                assert!(!claim(at, size, &[&path[..], &[[0; 32]]].concat()));
                assert!(!holds(&[0; 32], at, size, &path, &root));
                assert!(!holds(leaf, at, size, &path, &[0; 32]));
            }
        }
    }

    proptest! {
        #[test]
        fn trees_of_any_size_agree_with_the_definition(size in 1_usize..700, at in any::<prop::sample::Index>()) {
            let leaves: Vec<Hash> = (0..size).map(|number| leaf(&number.to_le_bytes())).collect();
            let index = at.index(size);
            let root = naive_root(&leaves);
            prop_assert_eq!(leaves.iter().copied().collect::<Tree>().root(), root);
            let path = path(&leaves, index).expect("a leaf");
            prop_assert_eq!(&path, &naive_path(&leaves, index));
            prop_assert!(holds(&leaves[index], index as u64, size as u64, &path, &root));
        }

        #[test]
        fn no_claim_however_large_makes_a_check_fail_otherwise_than_with_no(
            index in any::<u64>(), size in any::<u64>(), steps in 0..70_usize,
        ) {
            prop_assert!(!holds(&[1; 32], index, size, &vec![[2; 32]; steps], &[3; 32]));
        }
    }
}

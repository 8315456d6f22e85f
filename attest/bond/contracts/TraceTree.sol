// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Inclusion in the tree of a trace: RFC 9162 section 2.1 with SHA-256.
/// @notice Specification: attest/spec/bond.md#inclusion.
library TraceTree {
    /// @notice Hash of a record: SHA-256(0x00 || head).
    function hashLeaf(bytes memory head) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), head));
    }

    /// @notice Hash of an inner node: SHA-256(0x01 || left || right).
    function hashNode(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }

    /// @notice Whether `leaf` stands at `index` of the tree of `size` leaves with this root (RFC 9162 section 2.1.3.2).
    function includes(bytes32 root, uint64 size, uint64 index, bytes32 leaf, bytes32[] memory path)
        internal
        pure
        returns (bool)
    {
        if (index >= size) return false;
        uint64 fn = index;
        uint64 sn = size - 1;
        bytes32 hash = leaf;
        for (uint256 i = 0; i < path.length; ++i) {
            // A path longer than the tree is high ends here: the loop is bounded by 64, whatever the caller sends.
            if (sn == 0) return false;
            if (fn & 1 == 1 || fn == sn) {
                hash = hashNode(path[i], hash);
                while (fn & 1 == 0 && fn != 0) {
                    fn >>= 1;
                    sn >>= 1;
                }
            } else {
                hash = hashNode(hash, path[i]);
            }
            fn >>= 1;
            sn >>= 1;
        }
        return sn == 0 && hash == root;
    }

    /// @notice Whether `node` is the hash of the `2^level` leaves from `index * 2^level` on.
    /// @dev The RFC 9162 split falls on multiples of 2^level as long as more than 2^level leaves remain. So the tree of
    /// `size` leaves above that level has the shape of a tree of ceil(size / 2^level) leaves. Only whole subtrees count.
    function includesSubtree(
        bytes32 root,
        uint64 size,
        uint8 level,
        uint64 index,
        bytes32 node,
        bytes32[] memory path
    ) internal pure returns (bool) {
        if (level > 63) return false;
        uint256 width = uint256(1) << level;
        if ((uint256(index) + 1) * width > size) return false;
        return includes(root, uint64((uint256(size) + width - 1) >> level), index, node, path);
    }
}

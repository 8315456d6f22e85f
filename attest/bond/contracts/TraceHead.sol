// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The head of a record: 252 bytes, big-endian, fixed offsets.
/// @notice Specification: attest/spec/trace.md#head; the rules on chain: attest/spec/bond.md#broken-heads.
library TraceHead {
    uint256 internal constant LENGTH = 252;
    uint8 internal constant VERSION = 1;

    uint8 internal constant RUN_OPEN = 1;
    uint8 internal constant RUN_CLOSE = 2;
    uint8 internal constant AGENT = 4;
    uint8 internal constant HOST_END = 49;

    uint8 internal constant RECOMPUTABLE = 0;
    uint8 internal constant OPAQUE = 2;

    struct Head {
        uint8 version;
        uint8 kind;
        uint8 class;
        uint8 flags;
        uint64 index;
        uint64 time; // the field `at`, a word that Solidity will reserve
        uint64 completed; // the field `of`, a reserved word here
        bytes32 run;
        bytes32 prev;
        bytes32 pre;
        bytes32 post;
        bytes32 subject;
        bytes32 body;
        bytes32 facts;
    }

    /// @notice Reads the fields of a head.
    /// @param data exactly LENGTH bytes; the caller has checked that
    function parse(bytes memory data) internal pure returns (Head memory head) {
        uint256 word = uint256(_word(data, 0));
        head.version = uint8(word >> 248);
        head.kind = uint8(word >> 240);
        head.class = uint8(word >> 232);
        head.flags = uint8(word >> 224);
        head.index = uint64(word >> 160);
        head.time = uint64(word >> 96);
        head.completed = uint64(word >> 32);
        head.run = _word(data, 28);
        head.prev = _word(data, 60);
        head.pre = _word(data, 92);
        head.post = _word(data, 124);
        head.subject = _word(data, 156);
        head.body = _word(data, 188);
        head.facts = _word(data, 220);
    }

    /// @notice Whether a kind code is one of the sixteen of the format.
    function isKind(uint8 kind) internal pure returns (bool) {
        if (kind >= RUN_OPEN && kind <= AGENT) return true;
        return kind >= 16 && kind <= 66 && kind & 0x0f <= 2;
    }

    /// @notice Whether a record of this kind completes an earlier start (`X.end`, `X.lost`).
    function completes(uint8 kind) internal pure returns (bool) {
        return kind >= 16 && kind & 0x0f != 0;
    }

    /// @notice Whether a kind may have a class; for `host.end` the capability decides, which a head does not tell.
    function isClassOf(uint8 kind, uint8 class) internal pure returns (bool) {
        if (kind == HOST_END) return class <= OPAQUE;
        if (kind >= 16 && kind & 0x0f == 2) return class == OPAQUE;
        return class == RECOMPUTABLE;
    }

    function _word(bytes memory data, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 32), offset))
        }
    }
}

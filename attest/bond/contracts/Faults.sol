// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Runs} from "./Runs.sol";
import {TraceHead} from "./TraceHead.sol";
import {TraceTree} from "./TraceTree.sol";

/// @title Faults that the contract decides at once, from signatures and inclusion proofs alone.
/// @notice Specification: attest/spec/bond.md#equivocation and attest/spec/bond.md#broken-heads.
abstract contract Faults is Runs {
    enum EquivocationRule {
        None,
        SameSize, // two checkpoints of one size with a different field
        BeyondClosed, // a checkpoint beyond one that says closed
        Divergent // two different hashes at one position below both sizes
    }

    enum HeadRule {
        None,
        Layout, // not 252 bytes, version not 1, flags not 0, or a kind that does not exist
        Run, // another run id
        Index, // not its position in the tree
        Of, // a completing record that names no earlier one, or another record that does not name itself
        Class, // a class that the kind cannot have
        Open, // record 0 is not run.open, or a later one is
        FirstPrev, // prev of record 0 is not the run id
        OpenBody, // body digest of record 0 is not the one given to openRun
        Closed, // run.close is not the last record of a closed checkpoint, or one ends otherwise
        State, // state of the checkpoint is not post of the last record
        Prev, // prev is not the leaf hash of the record before
        Pre // pre is not post of the record before
    }

    /// @dev Two hashes at one aligned position: the 2^level leaves from index * 2^level on.
    struct Divergence {
        uint8 level;
        uint64 index;
        bytes32 shorterNode;
        bytes32[] shorterPath;
        bytes32 longerNode;
        bytes32[] longerPath;
    }

    struct HeadProof {
        uint64 index; // position in the tree
        bytes head;
        bytes32[] path;
    }

    event EquivocationProved(bytes32 indexed run, address indexed by, EquivocationRule rule, uint64 size);
    event BrokenHeadProved(bytes32 indexed run, address indexed by, HeadRule rule, uint64 index);

    error CheckpointsNotOrdered(uint64 first, uint64 second);
    error RunsDiffer(bytes32 first, bytes32 second);
    error NotContradicting();
    error ProofInvalid(uint8 which);
    error HeadsSound();
    error HeadsNotAdjacent(uint64 first, uint64 second);

    /// @notice Slashes a run of which two signed checkpoints cannot both be true.
    /// @param shorter the checkpoint of the smaller size; for equal sizes the order is free
    /// @param divergence read only when the sizes differ and the shorter one is not closed
    function proveEquivocation(
        SignedCheckpoint calldata shorter,
        SignedCheckpoint calldata longer,
        Divergence calldata divergence
    ) external nonReentrant {
        bytes32 run = shorter.checkpoint.run;
        if (longer.checkpoint.run != run) revert RunsDiffer(run, longer.checkpoint.run);
        Run storage entry = _liveRun(run);
        _checkSigned(shorter, entry.operator);
        _checkSigned(longer, entry.operator);
        EquivocationRule rule = _contradiction(shorter.checkpoint, longer.checkpoint, divergence);
        emit EquivocationProved(run, msg.sender, rule, shorter.checkpoint.size);
        _slashRun(run, entry, msg.sender);
    }

    /// @notice Slashes a run of which one head, or two neighbouring heads, under one signed checkpoint break a rule.
    /// @param heads one head, or two in the order of their positions
    function proveBrokenHead(SignedCheckpoint calldata signed, HeadProof[] calldata heads) external nonReentrant {
        Checkpoint calldata c = signed.checkpoint;
        Run storage entry = _liveRun(c.run);
        _checkSigned(signed, entry.operator);
        if (heads.length == 0 || heads.length > 2) revert BadParameter("heads");
        if (heads.length == 2 && (heads[1].index == 0 || heads[1].index - 1 != heads[0].index)) {
            revert HeadsNotAdjacent(heads[0].index, heads[1].index);
        }
        for (uint256 i = 0; i < heads.length; ++i) {
            _checkIncluded(c, heads[i], uint8(i));
        }
        for (uint256 i = 0; i < heads.length; ++i) {
            HeadRule rule = _brokenAlone(c, heads[i], entry.body);
            if (rule != HeadRule.None) return _punish(c.run, entry, rule, heads[i].index);
        }
        if (heads.length == 2) {
            HeadRule rule = _brokenPair(heads[0].head, heads[1].head);
            if (rule != HeadRule.None) return _punish(c.run, entry, rule, heads[1].index);
        }
        revert HeadsSound();
    }

    function _punish(bytes32 run, Run storage entry, HeadRule rule, uint64 index) private {
        emit BrokenHeadProved(run, msg.sender, rule, index);
        _slashRun(run, entry, msg.sender);
    }

    function _contradiction(Checkpoint calldata a, Checkpoint calldata b, Divergence calldata d)
        private
        pure
        returns (EquivocationRule)
    {
        if (a.size > b.size) revert CheckpointsNotOrdered(a.size, b.size);
        if (a.size == b.size) {
            if (a.root == b.root && a.state == b.state && a.closed == b.closed) revert NotContradicting();
            return EquivocationRule.SameSize;
        }
        if (a.closed) return EquivocationRule.BeyondClosed;
        if (d.shorterNode == d.longerNode) revert NotContradicting();
        if (!TraceTree.includesSubtree(a.root, a.size, d.level, d.index, d.shorterNode, d.shorterPath)) {
            revert ProofInvalid(0);
        }
        // A subtree that is whole below the smaller size is whole below the larger one.
        if (!TraceTree.includesSubtree(b.root, b.size, d.level, d.index, d.longerNode, d.longerPath)) {
            revert ProofInvalid(1);
        }
        return EquivocationRule.Divergent;
    }

    function _checkIncluded(Checkpoint calldata c, HeadProof calldata proof, uint8 which) internal pure {
        bytes32 leaf = TraceTree.hashLeaf(proof.head);
        if (!TraceTree.includes(c.root, c.size, proof.index, leaf, proof.path)) revert ProofInvalid(which);
    }

    /// @dev The first rule that a head breaks by itself. Honest leaves have one preimage, so a leaf that is not a head
    /// was put there by the operator: it is a fault, else it would be a way out of every other rule.
    function _brokenAlone(Checkpoint calldata c, HeadProof calldata proof, bytes32 body)
        private
        pure
        returns (HeadRule)
    {
        if (proof.head.length != TraceHead.LENGTH) return HeadRule.Layout;
        TraceHead.Head memory head = TraceHead.parse(proof.head);
        if (head.version != TraceHead.VERSION || head.flags != 0) return HeadRule.Layout;
        if (!TraceHead.isKind(head.kind)) return HeadRule.Layout;
        if (head.run != c.run) return HeadRule.Run;
        if (head.index != proof.index) return HeadRule.Index;
        if (TraceHead.completes(head.kind) ? head.completed >= head.index : head.completed != head.index) return HeadRule.Of;
        if (!TraceHead.isClassOf(head.kind, head.class)) return HeadRule.Class;
        if ((proof.index == 0) != (head.kind == TraceHead.RUN_OPEN)) return HeadRule.Open;
        if (proof.index == 0) {
            if (head.prev != c.run) return HeadRule.FirstPrev;
            if (head.body != body) return HeadRule.OpenBody;
        }
        bool last = proof.index == c.size - 1;
        bool isClose = head.kind == TraceHead.RUN_CLOSE;
        if (last ? isClose != c.closed : isClose) return HeadRule.Closed;
        if (last && head.post != c.state) return HeadRule.State;
        return HeadRule.None;
    }

    /// @dev Both heads are sound by themselves.
    function _brokenPair(bytes calldata first, bytes calldata second) private pure returns (HeadRule) {
        TraceHead.Head memory left = TraceHead.parse(first);
        TraceHead.Head memory right = TraceHead.parse(second);
        if (right.prev != TraceTree.hashLeaf(first)) return HeadRule.Prev;
        if (right.pre != left.post) return HeadRule.Pre;
        return HeadRule.None;
    }
}

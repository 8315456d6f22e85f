// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Stake} from "./Stake.sol";

/// @title Runs: opened from a request, fixed by signed checkpoints, closed or abandoned, settled when nothing is open.
/// @notice Times are unix seconds. Specification: attest/spec/bond.md#runs.
abstract contract Runs is Stake, EIP712 {
    enum Status {
        None,
        Open,
        Closed, // by a closed checkpoint; window running or over, lock still held
        Abandoned, // past its deadline without one; window running or over, lock still held
        Settled, // lock freed
        Slashed // lock taken
    }

    struct Request {
        bytes32 agent;
        bytes32 input;
        bytes32 limits;
        address caller;
        bytes32 nonce;
        uint64 expiry;
    }

    struct Opening {
        Request request;
        bytes signature; // the caller's, over the typed data hash of the request; empty when caller is zero
        uint64 attempt;
        uint64 deadline;
        uint128 exposure;
        bytes32 body; // body digest of record 0
        bytes32[] codes; // digests of code and models that the run names
    }

    struct Checkpoint {
        bytes32 run;
        uint64 size;
        bytes32 root;
        bytes32 state;
        bool closed;
    }

    struct SignedCheckpoint {
        Checkpoint checkpoint;
        bytes signature;
    }

    struct Run {
        address operator;
        Status status;
        uint32 openChallenges;
        uint64 attempt;
        uint64 openedBlock;
        uint64 openedAt;
        uint64 deadline;
        uint64 windowEnd; // zero while open
        uint128 exposure;
        uint128 lock;
        bytes32 requestDigest;
        bytes32 body;
        uint64 size; // of the newest stored checkpoint, zero before the first
        bytes32 root;
        bytes32 state;
    }

    struct Attempts {
        uint64 count;
        bytes32 last;
    }

    bytes32 internal constant REQUEST_TYPEHASH = keccak256(
        "Request(bytes32 agent,bytes32 input,bytes32 limits,address caller,bytes32 nonce,uint64 expiry)"
    );
    bytes32 internal constant CHECKPOINT_TYPEHASH =
        keccak256("Checkpoint(bytes32 run,uint64 size,bytes32 root,bytes32 state,bool closed)");

    /// @notice Most digests that one run may name.
    uint256 public constant MAX_CODES = 96;

    bytes32 public immutable salt;
    /// @notice Stake locked by a run that declares less exposure than this backs.
    uint256 public immutable minimumLock;
    /// @notice Seconds after the end of a run in which it can be challenged.
    uint64 public immutable challengeWindow;
    /// @notice Longest time from `openRun` to the deadline, seconds.
    uint64 public immutable maxDuration;
    /// @notice Assumed probability of detection, in 1/10,000.
    uint256 public immutable detectionBps;

    mapping(bytes32 run => Run) internal _runs;
    mapping(bytes32 requestDigest => Attempts) public attempts;
    mapping(bytes32 digest => bool) public codes;

    event CodeRegistered(bytes32 indexed digest, address indexed by, string locator);
    event RunOpened(
        bytes32 indexed run,
        address indexed operator,
        bytes32 indexed requestDigest,
        uint64 attempt,
        uint64 deadline,
        uint128 exposure,
        uint128 lock,
        bytes32 body,
        bytes32[] codes
    );
    event Checkpointed(bytes32 indexed run, uint64 size, bytes32 root, bytes32 state);
    event RunClosed(bytes32 indexed run, uint64 size, bytes32 root, bytes32 state, uint64 windowEnd);
    event RunAbandoned(bytes32 indexed run, uint64 windowEnd);
    event RunSettled(bytes32 indexed run, uint128 freed);
    event RunSlashed(
        bytes32 indexed run, address indexed operator, address indexed winner, uint256 burned, uint256 paid
    );

    error LocatorTooLong();
    error CodeUnknown(bytes32 digest);
    error TooManyCodes(uint256 count);
    error RequestExpired(uint64 expiry);
    error CallerSignatureInvalid();
    error WrongAttempt(uint64 expected, uint64 got);
    error PreviousAttemptOpen(bytes32 run);
    error DeadlineOutOfRange(uint64 earliest, uint64 latest);
    error ExposureTooHigh(uint256 requiredStake, uint256 freeStake);
    error RunUnknown(bytes32 run);
    error RunNotOpen(bytes32 run);
    error RunStillOpen(bytes32 run);
    error RunOver(bytes32 run);
    error DeadlinePassed(uint64 deadline);
    error DeadlineAhead(uint64 deadline);
    error WindowOpen(uint64 windowEnd);
    error WindowOver(uint64 windowEnd);
    error ChallengesOpen(uint32 count);
    error CheckpointClosed();
    error CheckpointNotClosed();
    error CheckpointNotNewer(uint64 stored, uint64 got);
    error CheckpointSignatureMalformed();
    error CheckpointNotByOperator(address operator, address signer);

    constructor(
        bytes32 salt_,
        uint256 minimumLock_,
        uint64 challengeWindow_,
        uint64 maxDuration_,
        uint256 detectionBps_
    ) EIP712("Tracebond", "1") {
        if (salt_ == bytes32(0)) revert BadParameter("salt");
        if (minimumLock_ == 0 || minimumLock_ > type(uint128).max) revert BadParameter("minimumLock");
        if (challengeWindow_ == 0) revert BadParameter("challengeWindow");
        if (maxDuration_ == 0) revert BadParameter("maxDuration");
        if (detectionBps_ == 0 || detectionBps_ > 10_000) revert BadParameter("detectionBps");
        salt = salt_;
        minimumLock = minimumLock_;
        challengeWindow = challengeWindow_;
        maxDuration = maxDuration_;
        detectionBps = detectionBps_;
    }

    /// @notice Says where the bytes of a digest can be had. The contract cannot fetch them: it only makes sure that a
    /// run names nothing of which nobody has said so.
    function registerCode(bytes32 digest, string calldata locator) external {
        if (bytes(locator).length > 1024) revert LocatorTooLong();
        codes[digest] = true;
        emit CodeRegistered(digest, msg.sender, locator);
    }

    /// @notice Opens a run for the sender and locks stake behind it.
    /// @return run the run id
    function openRun(Opening calldata opening) external returns (bytes32 run) {
        Request calldata request = opening.request;
        bytes32 digest = hashRequest(request);
        if (block.timestamp > request.expiry) revert RequestExpired(request.expiry);
        _checkCaller(request.caller, digest, opening.signature);
        if (opening.body == bytes32(0)) revert BadParameter("body");
        uint64 earliest = uint64(block.timestamp) + 1;
        uint64 latest = uint64(block.timestamp) + maxDuration;
        if (opening.deadline < earliest || opening.deadline > latest) revert DeadlineOutOfRange(earliest, latest);
        if (opening.codes.length > MAX_CODES) revert TooManyCodes(opening.codes.length);
        for (uint256 i = 0; i < opening.codes.length; ++i) {
            if (!codes[opening.codes[i]]) revert CodeUnknown(opening.codes[i]);
        }
        run = computeRunId(msg.sender, digest, opening.attempt);
        _countAttempt(digest, opening.attempt, run);
        uint128 lock = _lockFor(opening.exposure);
        Run storage entry = _runs[run];
        entry.operator = msg.sender;
        entry.status = Status.Open;
        entry.attempt = opening.attempt;
        entry.openedBlock = uint64(block.number);
        entry.openedAt = uint64(block.timestamp);
        entry.deadline = opening.deadline;
        entry.exposure = opening.exposure;
        entry.lock = lock;
        entry.requestDigest = digest;
        entry.body = opening.body;
        emit RunOpened(
            run,
            msg.sender,
            digest,
            opening.attempt,
            opening.deadline,
            opening.exposure,
            lock,
            opening.body,
            opening.codes
        );
    }

    /// @notice Stores a newer checkpoint of an open run; anyone may bring one that the operator signed.
    function checkpoint(SignedCheckpoint calldata signed) external {
        if (signed.checkpoint.closed) revert CheckpointClosed();
        _store(signed);
        emit Checkpointed(
            signed.checkpoint.run, signed.checkpoint.size, signed.checkpoint.root, signed.checkpoint.state
        );
    }

    /// @notice Ends an open run by its closed checkpoint and starts its challenge window.
    function closeRun(SignedCheckpoint calldata signed) external {
        if (!signed.checkpoint.closed) revert CheckpointNotClosed();
        Run storage entry = _store(signed);
        entry.status = Status.Closed;
        entry.windowEnd = uint64(block.timestamp) + challengeWindow;
        emit RunClosed(
            signed.checkpoint.run,
            signed.checkpoint.size,
            signed.checkpoint.root,
            signed.checkpoint.state,
            entry.windowEnd
        );
    }

    /// @notice Marks a run that was not closed by its deadline as abandoned and starts its challenge window.
    function expire(bytes32 run) external {
        Run storage entry = _openRun(run);
        if (block.timestamp <= entry.deadline) revert DeadlineAhead(entry.deadline);
        entry.status = Status.Abandoned;
        entry.windowEnd = uint64(block.timestamp) + challengeWindow;
        emit RunAbandoned(run, entry.windowEnd);
    }

    /// @notice Frees the stake behind a run whose window and challenges are over.
    function settle(bytes32 run) external {
        Run storage entry = _knownRun(run);
        if (entry.status == Status.Open) revert RunStillOpen(run);
        if (entry.status != Status.Closed && entry.status != Status.Abandoned) revert RunOver(run);
        if (block.timestamp <= entry.windowEnd) revert WindowOpen(entry.windowEnd);
        if (entry.openChallenges != 0) revert ChallengesOpen(entry.openChallenges);
        entry.status = Status.Settled;
        Account storage account = accounts[entry.operator];
        account.locked -= entry.lock;
        account.exposure -= entry.exposure;
        emit RunSettled(run, entry.lock);
    }

    /// @notice Everything stored about a run; all zero for an unknown one.
    function readRun(bytes32 run) external view returns (Run memory) {
        return _runs[run];
    }

    /// @notice SHA-256("tracebond/run/1" || chain id 32 || salt 32 || contract 20 || operator 20 || request 32 || attempt 8).
    function computeRunId(address operator, bytes32 requestDigest, uint64 attempt) public view returns (bytes32) {
        return sha256(
            abi.encodePacked(
                "tracebond/run/1", block.chainid, salt, address(this), operator, requestDigest, attempt
            )
        );
    }

    /// @notice EIP-712 struct hash of a request: the request digest.
    function hashRequest(Request calldata request) public pure returns (bytes32) {
        return keccak256(
            abi.encode(
                REQUEST_TYPEHASH,
                request.agent,
                request.input,
                request.limits,
                request.caller,
                request.nonce,
                request.expiry
            )
        );
    }

    /// @notice The digest that an operator signs for a checkpoint.
    function hashCheckpoint(Checkpoint calldata c) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(CHECKPOINT_TYPEHASH, c.run, c.size, c.root, c.state, c.closed))
        );
    }

    /// @notice Stake that an exposure needs behind it: exposure <= detection * burned share * lock.
    function requiredLock(uint256 exposure) public view returns (uint256) {
        uint256 divisor = detectionBps * BURNED_BPS;
        uint256 needed = (exposure * 1e8 + divisor - 1) / divisor;
        return needed > minimumLock ? needed : minimumLock;
    }

    function _knownRun(bytes32 run) internal view returns (Run storage entry) {
        entry = _runs[run];
        if (entry.status == Status.None) revert RunUnknown(run);
    }

    function _openRun(bytes32 run) internal view returns (Run storage entry) {
        entry = _knownRun(run);
        if (entry.status != Status.Open) revert RunNotOpen(run);
    }

    /// @dev A run that can still be proved wrong: its lock is held and its window has not passed.
    function _liveRun(bytes32 run) internal view returns (Run storage entry) {
        entry = _knownRun(run);
        if (entry.status == Status.Settled || entry.status == Status.Slashed) revert RunOver(run);
        if (entry.windowEnd != 0 && block.timestamp > entry.windowEnd) revert WindowOver(entry.windowEnd);
    }

    /// @dev Reverts unless the operator of the run signed the checkpoint. ECDSA refuses high s.
    function _checkSigned(SignedCheckpoint calldata signed, address operator) internal view {
        (address signer, ECDSA.RecoverError fault,) =
            ECDSA.tryRecover(hashCheckpoint(signed.checkpoint), signed.signature);
        if (fault != ECDSA.RecoverError.NoError) revert CheckpointSignatureMalformed();
        if (signer != operator) revert CheckpointNotByOperator(operator, signer);
    }

    /// @dev Takes the whole lock of a run: half burned, half credited to the winner.
    function _slashRun(bytes32 run, Run storage entry, address winner) internal {
        entry.status = Status.Slashed;
        Account storage account = accounts[entry.operator];
        account.stake -= entry.lock;
        account.locked -= entry.lock;
        account.exposure -= entry.exposure;
        (uint256 burned, uint256 paid) = _burnHalf(entry.lock, winner);
        emit RunSlashed(run, entry.operator, winner, burned, paid);
    }

    function _store(SignedCheckpoint calldata signed) private returns (Run storage entry) {
        Checkpoint calldata c = signed.checkpoint;
        entry = _openRun(c.run);
        if (block.timestamp > entry.deadline) revert DeadlinePassed(entry.deadline);
        if (c.size <= entry.size) revert CheckpointNotNewer(entry.size, c.size);
        _checkSigned(signed, entry.operator);
        entry.size = c.size;
        entry.root = c.root;
        entry.state = c.state;
    }

    /// @dev A request without a caller is the operator's own and carries no signature.
    function _checkCaller(address caller, bytes32 digest, bytes calldata signature) private view {
        if (caller == address(0)) {
            if (signature.length != 0) revert CallerSignatureInvalid();
            return;
        }
        (address signer, ECDSA.RecoverError fault,) = ECDSA.tryRecover(_hashTypedDataV4(digest), signature);
        if (fault != ECDSA.RecoverError.NoError || signer != caller) revert CallerSignatureInvalid();
    }

    function _countAttempt(bytes32 digest, uint64 attempt, bytes32 run) private {
        Attempts storage entry = attempts[digest];
        if (attempt != entry.count) revert WrongAttempt(entry.count, attempt);
        if (attempt != 0 && _runs[entry.last].status == Status.Open) revert PreviousAttemptOpen(entry.last);
        entry.count = attempt + 1;
        entry.last = run;
    }

    function _lockFor(uint128 exposure) private returns (uint128) {
        uint256 needed = requiredLock(exposure);
        Account storage account = accounts[msg.sender];
        uint256 free = account.stake - account.locked;
        if (needed > free || needed > type(uint128).max) revert ExposureTooHigh(needed, free);
        account.locked += needed;
        account.exposure += exposure;
        return uint128(needed);
    }
}

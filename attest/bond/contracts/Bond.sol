// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {Faults} from "./Faults.sol";
import {Runs} from "./Runs.sol";
import {Stake} from "./Stake.sol";
import {TraceHead} from "./TraceHead.sol";

/// @title The bond: stake, runs, faults decided at once, and, simple for now, a vote of re-executors on a false step.
/// @notice Specification: attest/spec/bond.md. Nothing here can be changed, paused or drained by anyone.
contract Bond is Faults {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace208;

    struct Parameters {
        IERC20 token;
        bytes32 salt;
        uint256 minimumLock;
        uint256 detectionBps;
        uint256 challengeBond;
        uint256 minimumReexecutorStake;
        uint256 quorumBps;
        uint64 withdrawDelay;
        uint64 challengeWindow;
        uint64 votingPeriod;
        uint64 maxDuration;
    }

    enum Outcome {
        Open,
        Guilty,
        NotGuilty,
        Undecided, // no quorum, or a tie
        Overtaken // the run was slashed for something else first
    }

    struct Challenge {
        bytes32 run;
        address challenger;
        Outcome outcome;
        uint64 index;
        uint48 snapshot; // block whose stakes weigh
        uint64 votingEnd;
        uint256 bond;
        uint256 eligible; // weight of all who may vote
        uint256 guilty;
        uint256 notGuilty;
        bytes32 recorded; // body digest that the operator recorded
        bytes32 answer; // body digest that the challenger computed
    }

    uint256 public immutable challengeBond;
    uint256 public immutable minimumReexecutorStake;
    uint256 public immutable quorumBps;
    uint64 public immutable votingPeriod;

    /// @notice Number of challenges so far; ids count from 0.
    uint256 public challengeCount;
    mapping(uint256 challengeId => Challenge) internal _challenges;
    mapping(uint256 challengeId => mapping(address voter => bool)) public hasVoted;
    mapping(address reexecutor => Checkpoints.Trace208) private _weights;
    Checkpoints.Trace208 private _totalWeight;
    /// @notice Unix seconds until which a re-executor's stake is locked by votes cast.
    mapping(address reexecutor => uint64) public votingUntil;

    event Registered(address indexed reexecutor, uint256 added, uint256 weight);
    event Deregistered(address indexed reexecutor, uint256 amount);
    event Challenged(
        uint256 indexed challengeId,
        bytes32 indexed run,
        address indexed challenger,
        uint64 index,
        bytes32 recorded,
        bytes32 answer,
        uint64 votingEnd
    );
    event Voted(uint256 indexed challengeId, address indexed voter, bool guilty, uint256 weight);
    event Resolved(uint256 indexed challengeId, bytes32 indexed run, Outcome outcome, uint256 guilty, uint256 notGuilty);

    error StakeTooSmall(uint256 minimum, uint256 got);
    error NotRegistered(address reexecutor);
    error StakeVoting(uint64 until);
    error HeadMalformed();
    error StepNotRecomputable(uint8 kind, uint8 class);
    error AnswerNotDifferent();
    error ChallengeUnknown(uint256 challengeId);
    error ChallengeResolved(uint256 challengeId);
    error VotingOver(uint64 votingEnd);
    error VotingOpen(uint64 votingEnd);
    error PartyCannotVote(address party);
    error AlreadyVoted(address voter);
    error NoWeight(address voter);

    constructor(Parameters memory p)
        Stake(p.token, p.withdrawDelay)
        Runs(p.salt, p.minimumLock, p.challengeWindow, p.maxDuration, p.detectionBps)
    {
        if (p.challengeBond == 0) revert BadParameter("challengeBond");
        if (p.minimumReexecutorStake == 0) revert BadParameter("minimumReexecutorStake");
        if (p.quorumBps == 0 || p.quorumBps > 10_000) revert BadParameter("quorumBps");
        if (p.votingPeriod == 0) revert BadParameter("votingPeriod");
        challengeBond = p.challengeBond;
        minimumReexecutorStake = p.minimumReexecutorStake;
        quorumBps = p.quorumBps;
        votingPeriod = p.votingPeriod;
    }

    /// @notice Adds to the sender's stake as a re-executor; it weighs in challenges opened in later blocks.
    function register(uint256 amount) external nonReentrant {
        _pull(amount);
        uint256 weight = uint256(_weights[msg.sender].latest()) + amount;
        if (weight < minimumReexecutorStake) revert StakeTooSmall(minimumReexecutorStake, weight);
        _setWeight(msg.sender, weight);
        emit Registered(msg.sender, amount, weight);
    }

    /// @notice Pays a re-executor's whole stake back, once no vote locks it.
    function deregister() external nonReentrant {
        uint256 amount = _weights[msg.sender].latest();
        if (amount == 0) revert NotRegistered(msg.sender);
        if (block.timestamp <= votingUntil[msg.sender]) revert StakeVoting(votingUntil[msg.sender]);
        _setWeight(msg.sender, 0);
        token.safeTransfer(msg.sender, amount);
        emit Deregistered(msg.sender, amount);
    }

    /// @notice Says that one recomputable record under a signed checkpoint is false, with a bond, and starts a vote.
    /// @param answer body digest that the challenger computed for that record
    function challenge(SignedCheckpoint calldata signed, HeadProof calldata step, bytes32 answer)
        external
        nonReentrant
        returns (uint256 challengeId)
    {
        bytes32 run = signed.checkpoint.run;
        Run storage entry = _liveRun(run);
        _checkSigned(signed, entry.operator);
        _checkIncluded(signed.checkpoint, step, 0);
        if (step.head.length != TraceHead.LENGTH) revert HeadMalformed();
        TraceHead.Head memory head = TraceHead.parse(step.head);
        if (head.class != TraceHead.RECOMPUTABLE) revert StepNotRecomputable(head.kind, head.class);
        if (answer == bytes32(0) || answer == head.body) revert AnswerNotDifferent();
        _pull(challengeBond);
        challengeId = challengeCount++;
        uint48 snapshot = uint48(block.number - 1);
        Challenge storage c = _challenges[challengeId];
        c.run = run;
        c.challenger = msg.sender;
        c.index = step.index;
        c.snapshot = snapshot;
        c.votingEnd = uint64(block.timestamp) + votingPeriod;
        c.bond = challengeBond;
        c.eligible = _totalWeight.upperLookup(snapshot) - _weights[entry.operator].upperLookup(snapshot);
        if (msg.sender != entry.operator) c.eligible -= _weights[msg.sender].upperLookup(snapshot);
        c.recorded = head.body;
        c.answer = answer;
        ++entry.openChallenges;
        emit Challenged(challengeId, run, msg.sender, step.index, head.body, answer, c.votingEnd);
    }

    /// @notice Casts the sender's whole weight; the accused and the challenger do not judge their own case.
    function vote(uint256 challengeId, bool guilty) external {
        Challenge storage c = _openChallenge(challengeId);
        if (block.timestamp > c.votingEnd) revert VotingOver(c.votingEnd);
        if (msg.sender == _runs[c.run].operator || msg.sender == c.challenger) revert PartyCannotVote(msg.sender);
        if (hasVoted[challengeId][msg.sender]) revert AlreadyVoted(msg.sender);
        uint256 weight = _weights[msg.sender].upperLookup(c.snapshot);
        uint256 current = _weights[msg.sender].latest();
        // Stake that has left since the snapshot no longer stands behind a vote.
        if (current < weight) weight = current;
        if (weight == 0) revert NoWeight(msg.sender);
        hasVoted[challengeId][msg.sender] = true;
        if (c.votingEnd > votingUntil[msg.sender]) votingUntil[msg.sender] = c.votingEnd;
        if (guilty) c.guilty += weight;
        else c.notGuilty += weight;
        emit Voted(challengeId, msg.sender, guilty, weight);
    }

    /// @notice Ends a challenge after its voting time, or at once if its run has been slashed meanwhile.
    function resolve(uint256 challengeId) external nonReentrant {
        Challenge storage c = _openChallenge(challengeId);
        Run storage entry = _runs[c.run];
        bool overtaken = entry.status == Status.Slashed;
        if (!overtaken && block.timestamp <= c.votingEnd) revert VotingOpen(c.votingEnd);
        Outcome outcome = overtaken ? Outcome.Overtaken : _count(c);
        c.outcome = outcome;
        --entry.openChallenges;
        emit Resolved(challengeId, c.run, outcome, c.guilty, c.notGuilty);
        if (outcome == Outcome.NotGuilty) {
            _burnHalf(c.bond, entry.operator);
        } else {
            _credit(c.challenger, c.bond);
            if (outcome == Outcome.Guilty) _slashRun(c.run, entry, c.challenger);
        }
    }

    /// @notice Everything stored about a challenge.
    function readChallenge(uint256 challengeId) external view returns (Challenge memory) {
        if (challengeId >= challengeCount) revert ChallengeUnknown(challengeId);
        return _challenges[challengeId];
    }

    /// @notice Present stake of a re-executor, zero if not registered.
    function weightOf(address reexecutor) external view returns (uint256) {
        return _weights[reexecutor].latest();
    }

    function _openChallenge(uint256 challengeId) private view returns (Challenge storage c) {
        if (challengeId >= challengeCount) revert ChallengeUnknown(challengeId);
        c = _challenges[challengeId];
        if (c.outcome != Outcome.Open) revert ChallengeResolved(challengeId);
    }

    function _count(Challenge storage c) private view returns (Outcome) {
        uint256 cast = c.guilty + c.notGuilty;
        if (cast == 0 || cast * 10_000 < c.eligible * quorumBps || c.guilty == c.notGuilty) return Outcome.Undecided;
        return c.guilty > c.notGuilty ? Outcome.Guilty : Outcome.NotGuilty;
    }

    function _setWeight(address reexecutor, uint256 weight) private {
        uint48 now_ = uint48(block.number);
        uint256 old = _weights[reexecutor].latest();
        uint256 total = uint256(_totalWeight.latest()) + weight - old;
        _weights[reexecutor].push(now_, SafeCast.toUint208(weight));
        _totalWeight.push(now_, SafeCast.toUint208(total));
    }
}

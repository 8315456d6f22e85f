// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

/// @title Stake of operators: what is there, what is locked behind runs, what is leaving, what was won.
/// @notice Nobody but its owner and the faults of its owner's runs moves stake: there is no admin.
abstract contract Stake is ReentrancyGuard {
    using SafeERC20 for IERC20;

    struct Account {
        uint256 stake; // backing, locked part included, leaving part not
        uint256 locked; // sum of the locks of runs that are not over
        uint256 exposure; // sum of the declared exposures of those runs
        uint256 leaving; // requested, not yet withdrawn; backs no run
        uint64 leavingAt; // unix seconds from which `leaving` can be withdrawn
    }

    /// @notice Where burned stake goes.
    address public constant BURN_ADDRESS = 0x000000000000000000000000000000000000dEaD;
    /// @notice Share of a slash that is burned, in 1/10,000.
    uint256 public constant BURNED_BPS = 5_000;

    IERC20 public immutable token;
    /// @notice Seconds between a request to withdraw and the withdrawal.
    uint64 public immutable withdrawDelay;

    mapping(address operator => Account) public accounts;
    /// @notice Amounts won or returned, to be collected by their owner.
    mapping(address owner => uint256) public credits;

    event Deposited(address indexed operator, uint256 amount);
    event WithdrawRequested(address indexed operator, uint256 amount, uint64 availableAt);
    event Withdrawn(address indexed operator, uint256 amount);
    event Credited(address indexed owner, uint256 amount);
    event Collected(address indexed owner, uint256 amount);
    event Burned(uint256 amount);

    error BadParameter(string name);
    error ZeroAmount();
    error TransferMismatch(uint256 expected, uint256 received);
    error StakeLocked(uint256 free, uint256 requested);
    error NothingLeaving();
    error WithdrawTooEarly(uint64 availableAt);
    error NothingToCollect();

    constructor(IERC20 token_, uint64 withdrawDelay_) {
        if (address(token_).code.length == 0) revert BadParameter("token");
        token = token_;
        withdrawDelay = withdrawDelay_;
    }

    /// @notice Adds to the sender's stake; the token must have been approved.
    function deposit(uint256 amount) external nonReentrant {
        _pull(amount);
        accounts[msg.sender].stake += amount;
        emit Deposited(msg.sender, amount);
    }

    /// @notice Takes stake that is not locked out of the backing; it can be withdrawn after the delay.
    /// A later request joins an earlier one and starts the delay again for both.
    function requestWithdraw(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        Account storage account = accounts[msg.sender];
        uint256 free = account.stake - account.locked;
        if (amount > free) revert StakeLocked(free, amount);
        account.stake -= amount;
        account.leaving += amount;
        account.leavingAt = uint64(block.timestamp) + withdrawDelay;
        emit WithdrawRequested(msg.sender, amount, account.leavingAt);
    }

    /// @notice Pays out what was requested, once its delay is over.
    function withdraw() external nonReentrant {
        Account storage account = accounts[msg.sender];
        uint256 amount = account.leaving;
        if (amount == 0) revert NothingLeaving();
        if (block.timestamp < account.leavingAt) revert WithdrawTooEarly(account.leavingAt);
        account.leaving = 0;
        token.safeTransfer(msg.sender, amount);
        emit Withdrawn(msg.sender, amount);
    }

    /// @notice Pays out what the sender won or got back.
    function collect() external nonReentrant {
        uint256 amount = credits[msg.sender];
        if (amount == 0) revert NothingToCollect();
        credits[msg.sender] = 0;
        token.safeTransfer(msg.sender, amount);
        emit Collected(msg.sender, amount);
    }

    /// @dev Takes exactly `amount` from the sender: a token with a fee or a hook that changes it is refused.
    function _pull(uint256 amount) internal {
        if (amount == 0) revert ZeroAmount();
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert TransferMismatch(amount, received);
    }

    function _credit(address owner, uint256 amount) internal {
        credits[owner] += amount;
        emit Credited(owner, amount);
    }

    /// @dev Burns half of `amount` (rounded up) and credits the rest to `winner`. The stake behind `amount` has already
    /// been taken from whoever lost it. A winner is never paid here, so no winner can block a slash.
    function _burnHalf(uint256 amount, address winner) internal returns (uint256 burned, uint256 rest) {
        rest = (amount * (10_000 - BURNED_BPS)) / 10_000;
        burned = amount - rest;
        _credit(winner, rest);
        emit Burned(burned);
        token.safeTransfer(BURN_ADDRESS, burned);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token for development chains: its whole supply goes to whoever deploys it. Worth nothing anywhere.
contract TestToken is ERC20 {
    constructor(uint256 supply) ERC20("SIMULATED Bond Token", "SIMBOND") {
        _mint(msg.sender, supply);
    }
}

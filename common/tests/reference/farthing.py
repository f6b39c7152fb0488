"""The protocol in Python, after PROTOCOL.md and nothing else. Standard library only, and meant to be read.

It is slow and keeps everything in memory. Its use is to show that the document is complete: `check_vectors.py`
beside it holds it against the project's test vectors. Section numbers are those of the document.
"""

from hashlib import sha256 as _sha256


class Refused(Exception):
    """A rule is broken. `name` is the document's name of the rule's error, `condemned` whether the block that
    breaks it is invalid for ever, `rule` the rule of a network that is out of bounds."""

    def __init__(self, name, condemned=False, rule=None):
        super().__init__(name)
        self.name, self.condemned, self.rule = name, condemned, rule


def require(fact, name, **more):
    if not fact:
        raise Refused(name, **more)


def sha256(*parts):
    return _sha256(b"".join(parts)).digest()


# ---- 1. Encoding. A type is an object that can read a value from a Reader, and write one to bytes.


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        require(count <= len(self.data) - self.at, "Malformed")
        self.at += count
        return self.data[self.at - count : self.at]


class Number:
    def __init__(self, size):
        self.size = size

    def read(self, reader):
        return int.from_bytes(reader.take(self.size), "little")

    def write(self, value):
        return value.to_bytes(self.size, "little")


U8, U16, U32, U64 = Number(1), Number(2), Number(4), Number(8)


class Bool:
    def read(self, reader):
        byte = U8.read(reader)
        require(byte <= 1, "Malformed")
        return byte == 1

    def write(self, value):
        return U8.write(int(value))


class Fixed:
    """[u8; N]"""

    def __init__(self, size):
        self.size = size

    def read(self, reader):
        return reader.take(self.size)

    def write(self, value):
        assert len(value) == self.size
        return value


class Bytes:
    """Vec<u8>"""

    def read(self, reader):
        return reader.take(U64.read(reader))

    def write(self, value):
        return U64.write(len(value)) + value


class Text:
    def read(self, reader):
        try:
            return Bytes().read(reader).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("Malformed") from None

    def write(self, value):
        return Bytes().write(value.encode("utf-8"))


class Vec:
    def __init__(self, of):
        self.of = of

    def read(self, reader):
        count = U64.read(reader)
        # Every type of the protocol takes at least one byte.
        require(count <= len(reader.data) - reader.at, "Malformed")
        return [self.of.read(reader) for _ in range(count)]

    def write(self, value):
        return U64.write(len(value)) + b"".join(self.of.write(element) for element in value)


class Option:
    def __init__(self, of):
        self.of = of

    def read(self, reader):
        return self.of.read(reader) if Bool().read(reader) else None

    def write(self, value):
        return b"\0" if value is None else b"\1" + self.of.write(value)


class Struct:
    """Fields by name: a dict."""

    def __init__(self, **fields):
        self.fields = fields

    def read(self, reader):
        return {name: of.read(reader) for name, of in self.fields.items()}

    def write(self, value):
        return b"".join(of.write(value[name]) for name, of in self.fields.items())


class Tuple:
    def __init__(self, *of):
        self.of = of

    def read(self, reader):
        return tuple(of.read(reader) for of in self.of)

    def write(self, value):
        return b"".join(of.write(part) for of, part in zip(self.of, value, strict=True))


class Enum:
    """Variants by name, numbered from 0: a pair of name and content."""

    def __init__(self, **variants):
        self.variants = variants

    def read(self, reader):
        number = U32.read(reader)
        require(number < len(self.variants), "Malformed")
        name = list(self.variants)[number]
        return name, self.variants[name].read(reader)

    def write(self, value):
        name, content = value
        return U32.write(list(self.variants).index(name)) + self.variants[name].write(content)


def decode(of, data):
    reader = Reader(data)
    value = of.read(reader)
    require(reader.at == len(data), "TrailingBytes")
    assert of.write(value) == data, "a value has two encodings"
    return value


HASH = Fixed(32)

# The one variant of a transaction: its number is read and written as a field that must be 0.


class Variant0:
    def read(self, reader):
        require(U32.read(reader) == 0, "Malformed")
        return 0

    def write(self, value):
        return U32.write(value)


PAYMENT = Struct(
    variant=Variant0(),
    to=HASH,
    amount=U64,
    fee=U64,
    nonce=U64,
    valid_until=U32,
    data=Bytes(),
    public_key=Bytes(),
)
TRANSACTION = Struct(**PAYMENT.fields, signature=Bytes())
HEADER = Struct(
    version=U32, previous=HASH, merkle_root=HASH, time=U64, bits=U32, height=U64, nonce=U64
)
SEAL = Struct(public_key=Bytes(), signature=Bytes())
REWARD = Struct(to=HASH, amount=U64, data=Bytes())
BODY = Struct(reward=REWARD, transactions=Vec(TRANSACTION))
BLOCK = Struct(header=HEADER, seal=Option(SEAL), body=BODY)
SEALED_HEADER = Struct(header=HEADER, seal=Option(SEAL))
RULES = Struct(
    format=U32,
    name=Text(),
    genesis_time=U64,
    difficulty=U32,
    target_block_seconds=U32,
    retarget_blocks=U32,
    min_spacing_ms=U32,
    max_ahead_seconds=U32,
    block_size=U32,
    block_interval_seconds=U32,
    allow_empty=Bool(),
    max_block_bytes=U32,
    block_reward=U64,
    min_fee=U64,
    key_size=U32,
    authorities=Vec(HASH),
    authority_timeout_seconds=U32,
    alloc=Vec(Tuple(HASH, U64)),
    extensions=Vec(Tuple(U16, Bytes())),
)

# ---- 2. Amounts

MAX_UNITS = 2**63 - 1


def read_amount(text):
    coins, point, decimals = text.partition(".")
    number = coins + decimals
    require(coins and (decimals or not point), "NotANumber")
    require(all(digit in "0123456789" for digit in number), "NotANumber")
    require(len(decimals) <= 6, "TooPrecise")
    units = int(coins) * 10**6 + int((decimals + "000000")[:6])
    require(units <= MAX_UNITS, "TooLarge")
    return units


def show_amount(units):
    coins, millionths = divmod(units, 10**6)
    return f"{coins}.{millionths:06}".rstrip("0").rstrip(".")


# ---- 3. Keys, addresses, signatures

SPKI_PREFIX = {
    256: "30820122300d06092a864886f70d01010105000382010f003082010a0282010100",
    384: "308201a2300d06092a864886f70d01010105000382018f003082018a0282018100",
    512: "30820222300d06092a864886f70d01010105000382020f003082020a0282020100",
}
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def is_modulus(modulus):
    return len(modulus) in SPKI_PREFIX and modulus[0] >= 128 and modulus[-1] % 2 == 1


def subject_public_key_info(modulus):
    return bytes.fromhex(SPKI_PREFIX[len(modulus)]) + modulus + bytes.fromhex("0203010001")


def address_of(modulus):
    return sha256(subject_public_key_info(modulus))


def show_address(address):
    lower = address.hex()
    check = sha256(lower.encode("ascii")).hex()
    return "".join(
        digit.upper() if int(checked, 16) >= 8 else digit for digit, checked in zip(lower, check)
    )


def read_address(text):
    require(len(text) == 64 and all(d in "0123456789abcdefABCDEF" for d in text), "NotAnAddress")
    address = bytes.fromhex(text)
    require(text in (text.lower(), text.upper(), show_address(address)), "Checksum")
    return address


def padded(message, size):
    """What a signature of this size is when it is raised to the public exponent."""
    return b"\0\1" + b"\xff" * (size - 54) + b"\0" + DIGEST_INFO + sha256(message)


def verify(modulus, message, signature):
    size = len(modulus)
    if not is_modulus(modulus) or len(signature) != size:
        return False
    n, s = int.from_bytes(modulus, "big"), int.from_bytes(signature, "big")
    return s < n and pow(s, 65537, n).to_bytes(size, "big") == padded(message, size)


# ---- 4. Transaction


def signed_message(network, transaction):
    return b"farthing:transaction:" + network + PAYMENT.write(transaction)


def transaction_id(transaction):
    return leaf_hash(TRANSACTION.write(transaction))


def check_transaction(rules, network, height, transaction):
    """1 to 9: all that needs no ledger."""
    key, signature = transaction["public_key"], transaction["signature"]
    require(len(transaction["data"]) <= 80, "DataTooLong")
    require(transaction["amount"] > 0, "ZeroAmount")
    require(transaction["amount"] + transaction["fee"] < 2**64, "TotalOverflows")
    require(is_modulus(key), "PublicKeyForm")
    require(8 * len(key) >= rules["key_size"], "KeyTooSmall")
    require(len(signature) == len(key), "SignatureLength")
    require(transaction["fee"] >= rules["min_fee"], "FeeTooLow")
    require(verify(key, signed_message(network, transaction), signature), "BadSignature")
    require(transaction["valid_until"] == 0 or transaction["valid_until"] >= height, "Expired")


def charge(balance, sent, transaction):
    """10 and 11: the sender's balance and number of transactions after it."""
    require(transaction["nonce"] >= sent, "NonceTooLow")
    require(transaction["nonce"] <= sent, "NonceGap")
    total = transaction["amount"] + transaction["fee"]
    require(balance >= total, "InsufficientFunds")
    return balance - total, sent + 1


# ---- 5. Block


def block_id(header):
    return sha256(HEADER.write(header))


def to_compact(target):
    size = (target.bit_length() + 7) // 8
    mantissa = target >> 8 * (size - 3) if size > 3 else target << 8 * (3 - size)
    if mantissa >= 2**23:
        mantissa, size = mantissa // 256, size + 1
    return size * 2**24 + mantissa


def from_compact(bits):
    size, mantissa = divmod(bits, 2**24)
    return mantissa << 8 * (size - 3) if size > 3 else mantissa >> 8 * (3 - size)


def work_of(target):
    return 2**256 // target


def leaf_hash(leaf):
    return sha256(b"\0", leaf)


def node_hash(left, right):
    return sha256(b"\1", left, right)


def split_of(count):
    """The largest power of two below count."""
    return 1 << (count - 1).bit_length() - 1


def merkle_root(leaf_hashes):
    count = len(leaf_hashes)
    if count == 1:
        return leaf_hashes[0]
    split = split_of(count)
    return node_hash(merkle_root(leaf_hashes[:split]), merkle_root(leaf_hashes[split:]))


def merkle_path(leaf_hashes, index):
    count = len(leaf_hashes)
    if count == 1:
        return []
    split = split_of(count)
    left, right = leaf_hashes[:split], leaf_hashes[split:]
    if index < split:
        return merkle_path(left, index) + [merkle_root(right)]
    return merkle_path(right, index - split) + [merkle_root(left)]


def root_from_path(leaf, index, count, path):
    """The root that a proof shows, or None."""
    if index >= count:
        return None
    value, i, last, rest = leaf, index, count - 1, list(path)
    while last > 0:
        if i % 2 == 1 or i < last:
            if not rest:
                return None
            sibling = rest.pop(0)
            value = node_hash(sibling, value) if i % 2 == 1 else node_hash(value, sibling)
        i, last = i // 2, last // 2
    return None if rest else value


def body_root(body):
    leaves = [leaf_hash(REWARD.write(body["reward"]))]
    leaves += [transaction_id(transaction) for transaction in body["transactions"]]
    return merkle_root(leaves)


# ---- 6. Rules of a network

BOUNDS = [
    ("genesis_time", 0, 2**53 - 1),
    ("difficulty", 1, 224),
    ("target_block_seconds", 0, 86_400),
    ("retarget_blocks", 5, 10_000),
    ("min_spacing_ms", 1, 60_000),
    ("max_ahead_seconds", 1, 7_200),
    ("block_size", 1, 2**32 - 1),
    ("max_block_bytes", 65_536, 4_194_304),
    ("authority_timeout_seconds", 1, 2**32 - 1),
]


def read_rules(data):
    rules = decode(RULES, data)
    require(rules["format"] == 1, "Format")
    require(not rules["extensions"], "UnknownExtension")
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    require(1 <= len(rules["name"]) <= 32 and set(rules["name"]) <= allowed, "Name")
    for rule, least, most in BOUNDS:
        require(least <= rules[rule] <= most, "OutOfBounds", rule=rule)
    require(rules["key_size"] in (2048, 3072, 4096), "OutOfBounds", rule="key_size")
    if rules["target_block_seconds"] > 0:
        require(rules["block_size"] == 1 and rules["allow_empty"], "RetargetNeedsEmptyBlocks")
    authorities, alloc = rules["authorities"], rules["alloc"]
    require(len(authorities) <= 256, "OutOfBounds", rule="authorities")
    require(len(set(authorities)) == len(authorities), "RepeatedAuthority")
    if authorities:
        require(rules["max_ahead_seconds"] < rules["authority_timeout_seconds"], "AheadOfTurn")
    require(len(alloc) <= 65_536, "OutOfBounds", rule="alloc")
    addresses = [address for address, _ in alloc]
    require(addresses == sorted(set(addresses)), "AllocOrder")
    supply = rules["block_reward"] * 2**32 + sum(amount for _, amount in alloc)
    require(supply <= MAX_UNITS, "Supply")
    return rules


def easiest_target(rules):
    return 2 ** (256 - rules["difficulty"])


def genesis(rules):
    return {
        "version": 1,
        "previous": bytes(32),
        "merkle_root": sha256(RULES.write(rules)),
        "time": rules["genesis_time"],
        "bits": to_compact(easiest_target(rules)),
        "height": 0,
        "nonce": 0,
    }


def network_id(rules):
    return block_id(genesis(rules))


def divide_toward_zero(number, by):
    return number // by if number >= 0 else -(-number // by)


def scale(target, exponent, least, most):
    """target · 2^(exponent / 65536), about, within bounds."""
    k, f = divmod(exponent, 65536)
    cubic = 195766423245049 * f + 971821376 * f**2 + 5127 * f**3 + 2**47
    factor = 65536 + cubic // 2**48
    product = target * factor
    scaled = product << k - 16 if k >= 16 else product >> 16 - k
    return min(max(scaled, least), most)


def retarget(rules, parent_bits, parent_time, grandparent_time):
    """The bits of a block of height 3 or more."""
    spacing = rules["target_block_seconds"] * 1000
    if spacing == 0:
        return parent_bits
    solved = min(parent_time - grandparent_time, max(300_000, 6 * spacing))
    half_life = rules["retarget_blocks"] * spacing
    exponent = divide_toward_zero((solved - spacing) * 65536, half_life)
    return to_compact(scale(from_compact(parent_bits), exponent, 2**32, easiest_target(rules)))


def is_better(work, tip, other_work, other_tip):
    """Fork choice."""
    return work > other_work or (work == other_work and tip < other_tip)


class Chain:
    """A chain from genesis on, and its ledger. It only grows."""

    def __init__(self, rules):
        self.rules = rules
        self.headers = [genesis(rules)]
        self.network = network_id(rules)
        self.accounts = {address: (amount, 0) for address, amount in rules["alloc"]}
        self.work = 0

    def tip(self):
        return block_id(self.headers[-1])

    def next_bits(self):
        if len(self.headers) <= 2:
            return self.headers[0]["bits"]
        parent, grandparent = self.headers[-1], self.headers[-2]
        return retarget(self.rules, parent["bits"], parent["time"], grandparent["time"])

    def append(self, data, now):
        """Rules 1 to 13 for an encoded block. On a refusal nothing has changed."""
        block = decode(BLOCK, data)
        self.check_header(block["header"], block["seal"], now)
        body = block["body"]
        # The id covers neither body nor seal: a wrong one says nothing about the block.
        require(block["header"]["merkle_root"] == body_root(body), "MerkleRoot")
        try:
            self.check_body(block)
            accounts = self.apply(body)
        except Refused as refused:
            raise Refused(refused.name, condemned=refused.name != "RewardNotToSealer") from None
        self.accounts = accounts
        self.headers.append(block["header"])
        self.work += work_of(from_compact(block["header"]["bits"]))

    def check_header(self, header, seal, now):
        rules, parent = self.rules, self.headers[-1]
        require(header["previous"] == block_id(parent), "NotTheParent")
        require(header["version"] == 1, "Version")
        require(header["height"] == parent["height"] + 1 < 2**32, "Height")
        require(header["bits"] == self.next_bits(), "Bits")
        number = int.from_bytes(block_id(header), "big")
        require(number < from_compact(header["bits"]), "InsufficientWork")
        require(header["time"] >= parent["time"] + rules["min_spacing_ms"], "TooSoonAfterParent")
        if rules["authorities"]:
            self.check_seal(header, seal)
        else:
            require(seal is None, "UnexpectedSeal")
        require(header["time"] <= now + rules["max_ahead_seconds"] * 1000, "AheadOfClock")

    # Section 8.
    def check_seal(self, header, seal):
        rules = self.rules
        require(seal is not None, "MissingSeal")
        key = seal["public_key"]
        require(is_modulus(key) and 8 * len(key) >= rules["key_size"], "SealKey")
        authorities = rules["authorities"]
        require(address_of(key) in authorities, "NotAnAuthority")
        place = authorities.index(address_of(key))
        distance = (place - header["height"]) % len(authorities)
        delay = max(
            rules["min_spacing_ms"], distance * rules["authority_timeout_seconds"] * 1000
        )
        require(header["time"] >= self.headers[-1]["time"] + delay, "OutOfTurn")
        require(verify(key, seal_message(block_id(header)), seal["signature"]), "BadSeal")

    def check_body(self, block):
        rules, header, body = self.rules, block["header"], block["body"]
        reward, transactions = body["reward"], body["transactions"]
        require(len(BODY.write(body)) <= rules["max_block_bytes"], "TooLarge")
        require(1 + len(transactions) >= self.least_leaves(header), "TooFewLeaves")
        require(len(reward["data"]) <= 80, "RewardData")
        due = rules["block_reward"] + sum(transaction["fee"] for transaction in transactions)
        require(due < 2**64, "FeesOverflow")
        require(reward["amount"] == due, "RewardAmount")
        if block["seal"] is not None:
            require(reward["to"] == address_of(block["seal"]["public_key"]), "RewardNotToSealer")
        for transaction in transactions:
            check_transaction(rules, self.network, header["height"], transaction)

    def least_leaves(self, header):
        rules = self.rules
        least = 1 if rules["allow_empty"] else 2
        interval = rules["block_interval_seconds"] * 1000
        if header["height"] == 1:
            return 1
        if interval > 0 and header["time"] - self.headers[-1]["time"] >= interval:
            return least
        return max(rules["block_size"], least)

    def apply(self, body):
        accounts = dict(self.accounts)

        def gain(address, amount):
            balance, sent = accounts.get(address, (0, 0))
            accounts[address] = (balance + amount, sent)

        for transaction in body["transactions"]:
            sender = address_of(transaction["public_key"])
            accounts[sender] = charge(*accounts.get(sender, (0, 0)), transaction)
            gain(transaction["to"], transaction["amount"])
        gain(body["reward"]["to"], body["reward"]["amount"])
        return accounts


# ---- 7. Messages


class BigNumber:
    """[u8; 32], a big-endian number."""

    def read(self, reader):
        return int.from_bytes(reader.take(32), "big")

    def write(self, value):
        return value.to_bytes(32, "big")


STATUS = Struct(instance=U64, height=U64, work=BigNumber(), tip=HASH, block_server_port=U16)
DATAGRAM = Struct(
    magic=Fixed(4),
    version=U16,
    network=Fixed(8),
    announcement=Enum(Status=STATUS, Transaction=TRANSACTION),
)
HELLO = Struct(
    magic=Fixed(4),
    version=U16,
    min_version=U16,
    network=HASH,
    instance=U64,
    time=U64,
    block_server_port=U16,
    features=U64,
    agent=Bytes(),
)
REQUEST = Enum(
    GetHeaders=Struct(locator=Vec(HASH), limit=U32),
    GetBlocks=Struct(ids=Vec(HASH)),
    GetCompact=Struct(id=HASH),
    GetBlockTransactions=Struct(id=HASH, indices=Vec(U32)),
    GetPoolIds=Struct(after=Option(HASH)),
    GetTransactions=Struct(ids=Vec(HASH)),
    SubmitTransactions=Vec(TRANSACTION),
    SubmitBlocks=Vec(BLOCK),
    WaitStatus=Struct(tip=HASH),
    GetProof=Struct(transaction=HASH),
    GetRules=Struct(),
)
RESPONSE = Enum(
    Headers=Vec(SEALED_HEADER),
    Block=BLOCK,
    NotFound=HASH,
    Compact=Struct(header=SEALED_HEADER, reward=REWARD, ids=Vec(HASH)),
    Transactions=Vec(TRANSACTION),
    PoolIds=Vec(HASH),
    Results=Vec(U32),
    Status=STATUS,
    Proof=Struct(header=SEALED_HEADER, index=U32, count=U32, path=Vec(HASH)),
    Rules=Bytes(),
    Unsupported=U32,
)
MOST = {
    "GetHeaders": ("locator", 64),
    "GetBlocks": ("ids", 256),
    "GetBlockTransactions": ("indices", 4_096),
    "GetTransactions": ("ids", 4_096),
}


def read_datagram(data, network):
    require(len(data) <= 1232, "TooLong")
    require(len(data) >= 14 and data[:4] == b"FRTH", "Magic")
    require(data[4:6] == b"\1\0", "Version")
    require(data[6:14] == network[:8], "OtherNetwork")
    return decode(DATAGRAM, data)["announcement"]


def read_hello(data, network):
    hello = decode(HELLO, data)
    require(hello["magic"] == b"FRTH", "Magic")
    require(hello["min_version"] <= 1 <= hello["version"], "Version")
    require(len(hello["agent"]) <= 64, "Agent")
    require(hello["network"] == network, "OtherNetwork")
    return hello


def read_request(data):
    """A pair of name and content; of a request that is not known, "Unknown" and its number."""
    if len(data) >= 4 and int.from_bytes(data[:4], "little") >= len(REQUEST.variants):
        return "Unknown", int.from_bytes(data[:4], "little")
    name, content = decode(REQUEST, data)
    if name in MOST:
        field, most = MOST[name]
        require(len(content[field]) <= most, "RequestTooLarge")
    return name, content


# ---- 8. Networks with authorities


def seal_message(identity):
    return b"farthing:seal:" + identity

"""Holds farthing.py against the project's test vectors: `python3 common/tests/reference/check_vectors.py`.

Ends with 1 and a sentence at the first difference. `tests/vectors/README.md` says what the files hold.
"""

import base64
import json
import pathlib
import sys

import farthing as f

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "vectors"


def unhex(value):
    return bytes.fromhex(value)


def json_of(value, of):
    """A value of a type of the protocol as the vectors write it."""
    if isinstance(of, f.BigNumber):
        return f"{value:064x}"
    if isinstance(of, f.Number):
        return str(value) if of is f.U64 else value
    if isinstance(of, (f.Fixed, f.Bytes)):
        return value.hex()
    if isinstance(of, f.Vec):
        return [json_of(element, of.of) for element in value]
    if isinstance(of, f.Option):
        return None if value is None else json_of(value, of.of)
    if isinstance(of, f.Tuple):
        return [json_of(part, part_of) for part, part_of in zip(value, of.of)]
    if isinstance(of, f.Enum):
        name, content = value
        return {name: json_of(content, of.variants[name])}
    if isinstance(of, f.Struct):
        fields = {name: json_of(value[name], field_of) for name, field_of in of.fields.items()}
        if of is f.HEADER:
            fields["bits"] = f"0x{value['bits']:08x}"
        if of is f.TRANSACTION:
            del fields["variant"]
        if of is f.HELLO:
            del fields["magic"]
        if of is f.BLOCK:
            fields |= fields.pop("body")
        return fields
    return value


def of_bits(bits):
    return f"0x{bits:08x}"


def amounts(given):
    if "units" in given:
        return {"text": f.show_amount(int(given["units"]))}
    return {"units": str(f.read_amount(given["text"]))}


def addresses(given):
    if "text" in given:
        return {"address": f.read_address(given["text"]).hex()}
    modulus = unhex(given["modulus"])
    f.require(f.is_modulus(modulus), "PublicKeyForm")
    address = f.address_of(modulus)
    return {
        "bits": 8 * len(modulus),
        "subject_public_key_info": f.subject_public_key_info(modulus).hex(),
        "address": address.hex(),
        "text": f.show_address(address),
    }


def der_parts(data):
    """The contents of the DER elements that stand one after another in data."""
    parts = []
    while data:
        length, at = data[1], 2
        if length >= 0x80:
            at += length - 0x80
            length = int.from_bytes(data[2:at], "big")
        parts.append(data[at : at + length])
        data = data[at + length :]
    return parts


def private_key(name):
    """Modulus and private exponent of a key in keys/ (PKCS#8 around PKCS#1)."""
    text = (FOLDER / "keys" / f"{name}.pem").read_text()
    inner = text.split("-----BEGIN PRIVATE KEY-----")[1].split("-----END")[0]
    (outer,) = der_parts(base64.b64decode(inner))
    (key,) = der_parts(der_parts(outer)[2])
    numbers = [int.from_bytes(part, "big") for part in der_parts(key)]
    return numbers[1], numbers[3]


def signatures(given):
    message = unhex(given["message"])
    if "key" in given:
        n, d = private_key(given["key"])
        size = n.bit_length() // 8
        signature = pow(int.from_bytes(f.padded(message, size), "big"), d, n).to_bytes(size, "big")
        modulus = n.to_bytes(size, "big")
        assert f.verify(modulus, message, signature)
        return {"modulus": modulus.hex(), "signature": signature.hex()}
    return {"valid": f.verify(unhex(given["modulus"]), message, unhex(given["signature"]))}


def transactions(given):
    rules = f.read_rules(unhex(given["rules"]))
    network = f.network_id(rules)
    transaction = f.decode(f.TRANSACTION, unhex(given["transaction"]))
    key, error, after = transaction["public_key"], None, None
    try:
        f.check_transaction(rules, network, int(given["height"]), transaction)
        balance, sent = f.charge(int(given["balance"]), int(given["nonce"]), transaction)
        after = {"balance": str(balance), "nonce": str(sent)}
    except f.Refused as refused:
        error = refused.name
    return {
        "fields": json_of(transaction, f.TRANSACTION),
        "signed_message": f.signed_message(network, transaction).hex(),
        "id": f.transaction_id(transaction).hex(),
        "sender": f.address_of(key).hex() if f.is_modulus(key) else None,
        "error": error,
        "sender_after": after,
    }


def headers(given):
    header = f.decode(f.HEADER, unhex(given["header"]))
    return {"fields": json_of(header, f.HEADER), "id": f.block_id(header).hex()}


def targets(given):
    if "target" in given:
        return {"bits": of_bits(f.to_compact(int(given["target"], 16)))}
    if "bits" in given:
        target = f.from_compact(int(given["bits"], 16))
        return {"target": f"{target:064x}", "work": f"{f.work_of(target):064x}"}
    rules = f.read_rules(unhex(given["rules"]))
    if "parent_bits" in given:
        times = int(given["parent_time"]), int(given["grandparent_time"])
        return {"bits": of_bits(f.retarget(rules, int(given["parent_bits"], 16), *times))}
    chain = f.Chain(rules)
    bits = [of_bits(chain.next_bits())]
    for time in given["times"]:
        chain.headers.append({"bits": chain.next_bits(), "time": int(time)})
        bits.append(of_bits(chain.next_bits()))
    return {"bits": bits}


def merkle(given):
    if "leaf_hash" in given:
        path = [unhex(step) for step in given["path"]]
        root = f.root_from_path(unhex(given["leaf_hash"]), given["index"], given["count"], path)
        return {"root": root and root.hex()}
    hashes = [f.leaf_hash(unhex(leaf)) for leaf in given["leaves"]]
    paths = [f.merkle_path(hashes, index) for index in range(len(hashes))]
    root = f.merkle_root(hashes)
    for index, path in enumerate(paths):
        assert f.root_from_path(hashes[index], index, len(hashes), path) == root
    return {
        "leaf_hashes": [leaf.hex() for leaf in hashes],
        "root": root.hex(),
        "paths": [[step.hex() for step in path] for path in paths],
    }


def rules(given):
    read = f.read_rules(unhex(given["rules"]))
    return {
        "fields": json_of(read, f.RULES),
        "genesis": f.HEADER.write(f.genesis(read)).hex(),
        "network": f.network_id(read).hex(),
    }


def blocks(given):
    block = f.decode(f.BLOCK, unhex(given["block"]))
    identity = f.block_id(block["header"])
    return {
        "fields": json_of(block, f.BLOCK),
        "id": identity.hex(),
        "body_bytes": len(f.BODY.write(block["body"])),
        "root_of_body": f.body_root(block["body"]).hex(),
        "seal_message": f.seal_message(identity).hex(),
    }


def chains(given):
    if "tip" in given:
        own = int(given["work"], 16), unhex(given["tip"])
        other = int(given["other_work"], 16), unhex(given["other_tip"])
        return {"better": f.is_better(*own, *other)}
    chain, error, condemned = f.Chain(f.read_rules(unhex(given["rules"]))), None, False
    for block in given["blocks"]:
        try:
            chain.append(unhex(block), int(given["now"]))
        except f.Refused as refused:
            error, condemned = refused.name, refused.condemned
            break
    accounts = sorted(chain.accounts.items())
    return {
        "valid": len(chain.headers) - 1,
        "error": error,
        "condemned": condemned,
        "tip": chain.tip().hex(),
        "work": f"{chain.work:064x}",
        "accounts": [[address.hex(), str(held), str(sent)] for address, (held, sent) in accounts],
    }


def frame(text):
    data = unhex(text)
    assert int.from_bytes(data[:4], "little") == len(data) - 4, "a frame of another length than it says"
    return data[4:]


def messages(given):
    if "datagram" in given:
        announcement = f.read_datagram(unhex(given["datagram"]), unhex(given["network"]))
        return json_of(announcement, f.DATAGRAM.fields["announcement"])
    if "hello" in given:
        hello = f.read_hello(frame(given["hello"]), unhex(given["network"]))
        return {"Hello": json_of(hello, f.HELLO)}
    if "request" in given:
        name, content = f.read_request(frame(given["request"]))
        return {name: content} if name == "Unknown" else json_of((name, content), f.REQUEST)
    return json_of(f.decode(f.RESPONSE, frame(given["response"])), f.RESPONSE)


def output_of(function, given):
    try:
        return function(given)
    except f.Refused as refused:
        return {"error": refused.name} | ({"rule": refused.rule} if refused.rule else {})


FILES = [
    amounts,
    addresses,
    signatures,
    transactions,
    headers,
    targets,
    merkle,
    rules,
    blocks,
    chains,
    messages,
]


def check_files():
    """How many cases agree; a sentence in a ValueError about the first that does not."""
    names = {path.stem for path in FOLDER.glob("*.json")}
    if names != {function.__name__ for function in FILES}:
        raise ValueError(f"the files are {sorted(names)}, which are not the ones known here")
    count = 0
    for function in FILES:
        file = f"{function.__name__}.json"
        for case in json.loads((FOLDER / file).read_text(encoding="utf-8"))["cases"]:
            got, expected = output_of(function, case["input"]), case["output"]
            if got != expected:
                at = {key for key in got.keys() | expected.keys() if got.get(key) != expected.get(key)}
                parts = [f"{key} is {got.get(key)!r} here and {expected.get(key)!r} there" for key in sorted(at)]
                raise ValueError(f"{file}, {case['name']!r}: {'; '.join(parts)}")
            count += 1
    return count


def check_asert():
    """The same for Bitcoin Cash's vectors."""
    count = 0
    for path in sorted((FOLDER / "asert").iterdir()):
        head, rows = {}, []
        for line in path.read_text().splitlines():
            if line.startswith("##") and ":" in line:
                name, _, value = line.lstrip("# ").partition(":")
                head[name.replace("ancestor", "parent")] = value.strip()
            elif line and not line.startswith("#"):
                rows.append(line.split())
        anchor = f.from_compact(int(head["anchor nBits"], 16))
        for row in rows:
            height, time, expected = int(row[1]), int(row[2]), int(row[3], 16)
            planned = 600 * (height - int(head["anchor height"]) + 1)
            behind = time - int(head["anchor parent time"]) - planned
            exponent = f.divide_toward_zero(behind * 65536, 172_800)
            got = f.to_compact(f.scale(anchor, exponent, 1, f.from_compact(0x1D00FFFF)))
            if got != expected:
                raise ValueError(f"asert/{path.name}, line {row}: bits are {of_bits(got)} here")
            count += 1
    return count


def main():
    try:
        cases, steps = check_files(), check_asert()
    except ValueError as difference:
        print(f"error: {difference}", file=sys.stderr)
        return 1
    print(f"{cases} vectors and {steps} steps of the retarget agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a schema can't say to schemathesis: keys that are new, and the ids of things that exist.

Only values that are valid already are replaced, so that what is wrong on purpose stays wrong.
"""

import os
import re
import uuid
import zlib

import schemathesis

KEY = re.compile(r"[!-~]{1,64}")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EXISTING = {"products": os.environ["FUZZ_PRODUCT"], "customers": os.environ["FUZZ_CUSTOMER"]}


def is_id(value):
    return isinstance(value, str) and ID.fullmatch(value)


def existing(kind, value):
    """For half of the ids, and always the same half, the one that exists."""
    return EXISTING[kind] if zlib.crc32(value.encode()) % 2 else value


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = case.headers or {}
    key = headers.get("Idempotency-Key")
    # A key that was used for another case would be answered with 422, rightly.
    if isinstance(key, str) and KEY.fullmatch(key):
        headers["Idempotency-Key"] = str(uuid.uuid4())
    # Ids of orders come from orders that were placed, by the document's links.
    kind = case.operation.path.split("/")[2]
    parameters = case.path_parameters or {}
    if kind in EXISTING and is_id(parameters.get("id")):
        parameters["id"] = existing(kind, parameters["id"])
    if case.operation.label == "POST /v1/orders" and isinstance(case.body, dict):
        lines = case.body.get("lines")
        for line in lines if isinstance(lines, list) else []:
            if isinstance(line, dict) and is_id(line.get("product_id")):
                line["product_id"] = existing("products", line["product_id"])

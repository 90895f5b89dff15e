# Messages: what is done to each of them. All else of the class is the pure one's (`twin`).

cdef tuple _OPCODES = tuple(_header.OpCode)
cdef object _OPCODE = _header.OpCode
cdef object _MORE = _header.MoreMessagesFlag.MORE
cdef object _LAST = _header.MoreMessagesFlag.LAST

cdef dict _message = {}


cdef dict _of_message():
    # The names of values/message.py, which imports this module before it is complete itself.
    global _message
    if not _message:
        from pytofu.values import message

        _message = vars(message)
    return _message


cdef bint _tracing = False  # as the pure module has it


def _trace(enabled):
    global _tracing
    _trace.__wrapped__(enabled)
    _tracing = enabled


cdef proto_of(header):
    return (<BinaryHeader>header).proto_byte if type(header) is BinaryHeader else header.proto_byte


cdef int set_proto(header, proto) except -1:
    if type(header) is BinaryHeader:
        (<BinaryHeader>header).proto_byte = proto
    else:
        header.proto_byte = proto
    return 0


cdef class Message:
    cdef public object _account
    cdef public object _body
    cdef public object _cost
    cdef public object _header
    cdef public object _released
    cdef public object _text

    def __init__(self, header=None, text_headers=b"", body=b"", _account=None, _cost=0):
        if _account is None and (body or text_headers or header is not None):
            header, text_headers, body = _of_message()["_checked"](header, text_headers, body)
        self._account = _account
        self._cost = _cost
        self._header = new_header() if header is None else header
        self._text = text_headers
        self._body = body
        self._released = False

    def release(self):
        if self._released:
            raise self._misuse()
        self._released = _of_message()["releases"].release_site() if _tracing else True
        self.credit_account()
        return self

    cdef bint goes_quietly(self) except -1:
        """Whether giving it up would call nothing that is Python: see `Poster`."""
        if self._released is not False or _tracing:
            return False
        account = self._account
        if account is None:
            return True
        cdef Budget budget
        if type(account) is ChannelAccount:
            budget = (<ChannelAccount>account).budget
        elif type(account) is _Loans:
            budget = (<_Loans>account)._budget
        else:
            return False
        return counts_here(budget) and not budget.watchers

    cdef int give_up(self) except -1:
        """`release` of one that goes quietly."""
        self._released = True
        return self.credit_account()

    cdef int credit_account(self) except -1:
        account = self._account
        if account is not None:
            self._account = None
            if type(account) is ChannelAccount:
                (<ChannelAccount>account).count_back(self._cost)
            elif type(account) is _Loans:
                (<_Loans>account).count_back()
            else:
                account.credit(self._cost)
        return 0

    def __del__(self):
        try:
            if self._account is not None:
                self._account.forget(self._cost)
        except AttributeError:  # as the pure one
            pass

    @property
    def header(self):
        """The binary header, to read and to write."""
        if self._released:
            raise self._misuse()
        return self._header

    @property
    def opcode(self):
        """What the message means. `AmpeException` (INVALID_OP_CODE) when it is 10-15."""
        if self._released:
            raise self._misuse()
        cdef int opcode = proto_of(self._header) & 15
        if opcode > _LAST_OPCODE:
            raise AmpeException.from_error(AmpeError.INVALID_OP_CODE) from None
        return _OPCODES[opcode]

    @opcode.setter
    def opcode(self, opcode):
        if self._released:
            raise self._misuse()
        number = opcode if type(opcode) is _OPCODE else _of_message()["_opcode_of"](opcode)
        set_proto(self._header, proto_of(self._header) & 0xF0 | number)

    @property
    def channel_number(self):
        """The channel, 1-65534; 0 for a message that opens one."""
        if self._released:
            raise self._misuse()
        if type(self._header) is BinaryHeader:
            return (<BinaryHeader>self._header).channel_number
        return self._header.channel_number

    @channel_number.setter
    def channel_number(self, channel_number):
        if self._released:
            raise self._misuse()
        if type(channel_number) is not int:
            channel_number = whole_number("channel_number", channel_number)
        if type(self._header) is BinaryHeader:
            (<BinaryHeader>self._header).channel_number = channel_number
        else:
            self._header.channel_number = channel_number

    @property
    def message_id(self):
        """The correlation id, 0 to 2**64-1; 0 lets the engine assign one."""
        if self._released:
            raise self._misuse()
        if type(self._header) is BinaryHeader:
            return (<BinaryHeader>self._header).message_id
        return self._header.message_id

    @message_id.setter
    def message_id(self, message_id):
        if self._released:
            raise self._misuse()
        if type(message_id) is not int:
            message_id = whole_number("message_id", message_id)
        if type(self._header) is BinaryHeader:
            (<BinaryHeader>self._header).message_id = message_id
        else:
            self._header.message_id = message_id

    @property
    def status(self):
        """How it went; a byte that has no name reads as UNKNOWN_ERROR."""
        if self._released:
            raise self._misuse()
        status = self._header.status
        if status is _SUCCESS or (type(status) is int and status == 0):
            return _SUCCESS
        return AmpeStatus.from_wire(status)

    @status.setter
    def status(self, status):
        self.header.status = _header.in_a_byte("status", status)

    @property
    def more(self):
        """MORE (true) while further messages with the same message_id follow, else LAST."""
        if self._released:
            raise self._misuse()
        return _MORE if proto_of(self._header) & 32 else _LAST

    @more.setter
    def more(self, more):
        if self._released:
            raise self._misuse()
        if type(more) is not bool:
            more = _header.MoreMessagesFlag(whole_number("more", more))
        set_proto(self._header, proto_of(self._header) & ~32 | (32 if more else 0))

    @property
    def payload(self):
        """The bytes of the body."""
        if self._released:
            raise self._misuse()
        return self._body if isinstance(self._body, bytes) else bytes(self._body)

    @payload.setter
    def payload(self, data):
        raise AttributeError("`payload` is for reading: message.set_payload(data) sets the body")

    @property
    def text_headers(self):
        """The text headers, to read and to extend."""
        if self._released:
            raise self._misuse()
        if isinstance(self._text, bytes):
            self._text = new_text_headers(self._text)
        return self._text

    @property
    def raw_text_headers(self):
        """The bytes of the text headers, as they go on the wire: quicker than `text_headers`."""
        if self._released:
            raise self._misuse()
        return self._text if type(self._text) is bytes else self._text_bytes()

    def set_text_headers(self, raw):
        if self._released:
            raise self._misuse()
        if type(raw) is not bytes:
            raw = _of_message()["_bytes_of"]("set_text_headers", raw)
        self._text = raw

    def set_payload(self, data):
        if self._released:
            raise self._misuse()
        if type(data) is not bytes:
            data = _of_message()["_bytes_of"]("set_payload", data)
        self._body = data

    def has_more(self):
        if self._released:
            raise self._misuse()
        return bool(proto_of(self._header) & 32)

    def is_from_engine(self):
        if self._released:
            raise self._misuse()
        return bool(proto_of(self._header) & 16)

    def is_from_application(self):
        if self._released:
            raise self._misuse()
        return not proto_of(self._header) & 16


cdef Message new_message():
    cdef Message message = Message.__new__(Message)
    message._cost = 0
    message._header = new_header()
    message._text = message._body = b""
    message._released = False
    return message

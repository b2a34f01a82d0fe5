package linksocks

// channelVectors are the messages of a channel.
var channelVectors = []vector{
	{
		name: "connect tcp",
		wire: []string{
			"01 03",
			"01",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"0b",                               // AddrLen
			"65 78 61 6d 70 6c 65 2e 63 6f 6d", // Addr "example.com"
			"01 bb",                            // Port 443
		},
		want: &Connect{Proto: TCP, Channel: id, Host: "example.com", Port: 443},
	},
	{
		name: "connect tcp to nowhere",
		wire: []string{
			"01 03",
			"01",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // AddrLen
			"00 00",                            // Port
		},
		want: &Connect{Proto: TCP, Channel: id},
	},
	{
		name: "connect udp",
		wire: []string{
			"01 03",
			"02",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
		},
		want: &Connect{Proto: UDP, Channel: id},
	},
	{
		name: "connect of an unknown protocol has no address",
		wire: []string{
			"01 03",
			"07",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
		},
		want:    &Connect{Proto: 7, Channel: id},
		foreign: true,
	},
	{
		name: "data tcp",
		wire: []string{
			"01 04",
			"01",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // Comp
			"00 00 00 05",                      // DataLen
			"68 65 6c 6c 6f",                   // Data "hello"
		},
		want: &Data{Proto: TCP, Channel: id, Payload: []byte("hello")},
	},
	{
		name: "data tcp, empty",
		wire: []string{
			"01 04",
			"01",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // Comp
			"00 00 00 00",                      // DataLen
		},
		want: &Data{Proto: TCP, Channel: id, Payload: []byte{}},
	},
	{
		name: "data tcp, gzip",
		wire: []string{
			"01 04",
			"01",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"01",                               // Comp
			"00 00 00 1c",                      // DataLen 28
			"1f8b 08 00 00000000 00 ff",        // Data: gzip header (RFC 1952, section 2.3)
			"01 0500 faff 68656c6c6f",          // one stored block, the last, "hello" (RFC 1951, section 3.2.4)
			"86a61036 05000000",                // CRC-32, size
		},
		want:    &Data{Proto: TCP, Channel: id, Inflated: true, Payload: []byte("hello")},
		foreign: true,
	},
	{
		name: "data tcp, gzip of two members",
		wire: []string{
			"01 04",
			"01",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"01",                               // Comp
			"00 00 00 38",                      // DataLen 56
			"1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f", "86a61036 05000000",
			"1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f", "86a61036 05000000",
		},
		want:    &Data{Proto: TCP, Channel: id, Inflated: true, Payload: []byte("hellohello")},
		foreign: true,
	},
	{
		name: "data tcp of an unknown compression is raw",
		wire: []string{
			"01 04",
			"01",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"02",                               // Comp
			"00 00 00 02",                      // DataLen
			"1f 8b",                            // Data
		},
		want:    &Data{Proto: TCP, Channel: id, Payload: []byte{0x1f, 0x8b}},
		foreign: true,
	},
	{
		name: "data udp on its way out",
		wire: []string{
			"01 04",
			"02",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // Comp
			"00 00 00 02",                      // DataLen
			"68 69",                            // Data "hi"
			"00",                               // AddrLen
			"00 00",                            // Port
			"07",                               // TgtLen
			"64 6e 73 2e 6c 61 6e",             // Tgt "dns.lan"
			"00 35",                            // TgtPort 53
		},
		want: &Data{
			Proto: UDP, Channel: id, Payload: []byte("hi"),
			Source: Endpoint{Host: []byte{}}, Target: Endpoint{Host: []byte("dns.lan"), Port: 53},
		},
	},
	{
		name: "data udp on its way back",
		wire: []string{
			"01 04",
			"02",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // Comp
			"00 00 00 02",                      // DataLen
			"68 69",                            // Data "hi"
			"09",                               // AddrLen
			"31 39 32 2e 30 2e 32 2e 37",       // Addr "192.0.2.7"
			"00 35",                            // Port 53
			"00",                               // TgtLen
			"00 00",                            // TgtPort
		},
		want: &Data{
			Proto: UDP, Channel: id, Payload: []byte("hi"),
			Source: Endpoint{Host: []byte("192.0.2.7"), Port: 53}, Target: Endpoint{Host: []byte{}},
		},
	},
	{
		name: "data udp, gzip",
		wire: []string{
			"01 04",
			"02",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"01",                               // Comp
			"00 00 00 1c",                      // DataLen 28
			"1f8b 08 00 00000000 00 ff", "01 0500 faff 68656c6c6f", "86a61036 05000000",
			"00",       // AddrLen
			"00 00",    // Port
			"03",       // TgtLen
			"3a 3a 31", // Tgt "::1"
			"00 35",    // TgtPort 53
		},
		want: &Data{
			Proto: UDP, Channel: id, Inflated: true, Payload: []byte("hello"),
			Source: Endpoint{Host: []byte{}}, Target: Endpoint{Host: []byte("::1"), Port: 53},
		},
		foreign: true,
	},
	{
		name: "data of an unknown protocol has no trailer",
		wire: []string{
			"01 04",
			"00",                               // Proto
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // Comp
			"00 00 00 01",                      // DataLen
			"21",                               // Data "!"
		},
		want:    &Data{Channel: id, Payload: []byte("!")},
		foreign: true,
	},
	{
		name: "connect response, ok",
		wire: []string{
			"01 05",
			"01",                               // Ok
			"00112233445566778899aabbccddeeff", // Chan
		},
		want: &ConnectResponse{OK: true, Channel: id},
	},
	{
		name: "connect response, failed",
		wire: []string{
			"01 05",
			"00",                               // Ok
			"00112233445566778899aabbccddeeff", // Chan
			"04",                               // ErrLen
			"6e 6f 70 65",                      // Err "nope"
		},
		want: &ConnectResponse{Channel: id, Cause: "nope"},
	},
	{
		name: "connect response, failed without a word",
		wire: []string{
			"01 05",
			"00",                               // Ok
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // ErrLen
		},
		want: &ConnectResponse{Channel: id},
	},
	{
		name: "disconnect",
		wire: []string{
			"01 06",
			"00112233445566778899aabbccddeeff", // Chan
		},
		want: &Disconnect{Channel: id},
		open: true,
	},
	{
		name: "disconnect at the end",
		wire: []string{
			"01 06",
			"00112233445566778899aabbccddeeff", // Chan
			"03",                               // ErrLen
			"45 4f 46",                         // Err "EOF"
		},
		want: &Disconnect{Channel: id, Cause: "EOF"},
		ends: []int{18},
	},
	{
		name: "disconnect with an empty cause",
		wire: []string{
			"01 06",
			"00112233445566778899aabbccddeeff", // Chan
			"00",                               // ErrLen
		},
		want:    &Disconnect{Channel: id},
		ends:    []int{18},
		foreign: true,
	},
}

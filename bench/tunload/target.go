package main

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
)

// What the first byte of a connection asks the target for.
const (
	modeEcho  = 'E'
	modeGive  = 'G' // and a uint64: how many bytes
	modeSum   = 'S' // and a uint64: how many bytes
	modeCount = 'C' // and a uint64: how many bytes
)

// target serves until it is killed.
func target(args []string) error {
	flags := flag.NewFlagSet("target", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:7000", "TCP and UDP address; port 0 is one that is free")
	flags.Parse(args)
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		return err
	}
	go echoDatagrams(pc)
	announce(ln)
	return accept(ln, serve)
}

// announce says where ln listens, as bound: who started us waits for it.
func announce(ln net.Listener) { fmt.Println("tunload ready", ln.Addr()) }

// accept hands each connection to a goroutine, until ln is closed.
func accept(ln net.Listener, handle func(*net.TCPConn)) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go handle(c.(*net.TCPConn))
	}
}

func echoDatagrams(pc net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		pc.WriteTo(buf[:n], from)
	}
}

func serve(c *net.TCPConn) {
	defer c.Close()
	var mode [1]byte
	if _, err := io.ReadFull(c, mode[:]); err != nil {
		return
	}
	if mode[0] == modeEcho {
		io.Copy(c, c)
		return
	}
	var size [8]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	n := int64(binary.BigEndian.Uint64(size[:]))
	switch mode[0] {
	case modeGive:
		io.CopyN(c, newStream(), n)
	case modeSum:
		h := sha256.New()
		if _, err := io.CopyBuffer(h, io.LimitReader(c, n), make([]byte, copyBuffer)); err != nil {
			return
		}
		c.Write(h.Sum(nil))
	case modeCount:
		got, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{io.LimitReader(c, n)}, make([]byte, copyBuffer))
		if err != nil {
			return
		}
		c.Write(binary.BigEndian.AppendUint64(nil, uint64(got)))
	}
}

// hop forwards to one address until it is killed.
func hop(args []string) error {
	flags := flag.NewFlagSet("hop", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:7001", "TCP address; port 0 is one that is free")
	to := flags.String("to", "127.0.0.1:7000", "TCP address")
	flags.Parse(args)
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	announce(ln)
	return accept(ln, func(c *net.TCPConn) { carry(c, *to) })
}

func carry(c *net.TCPConn, to string) {
	defer c.Close()
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	t := d.(*net.TCPConn)
	defer t.Close()
	var up sync.WaitGroup
	up.Go(func() { io.Copy(t, c); t.CloseWrite() })
	io.Copy(c, t)
	c.CloseWrite()
	up.Wait()
}

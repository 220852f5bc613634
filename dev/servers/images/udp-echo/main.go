// Udp-echo sends every datagram back to where it came from, on the port of PORT (7 when it is not set).
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "7"
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-end
		os.Exit(0)
	}()
	socket, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		fmt.Println("cannot listen:", err)
		os.Exit(1)
	}
	fmt.Println("echoing datagrams on port", port)
	buffer := make([]byte, 65536)
	for {
		size, from, err := socket.ReadFrom(buffer)
		if err != nil {
			fmt.Println("cannot read:", err)
			continue
		}
		fmt.Println("echoed", size, "bytes to", from)
		if _, err := socket.WriteTo(buffer[:size], from); err != nil {
			fmt.Println("cannot write:", err)
		}
	}
}

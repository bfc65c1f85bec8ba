"""What several tests share: images, servers, training runs, hosts and files of pretrained networks."""

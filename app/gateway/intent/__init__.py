"""What requests are after: labels for reports and routing, by scored rules and a small trained model."""

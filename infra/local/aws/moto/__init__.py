"""What moto 5.2.5 lacks or gets wrong for this platform, added to it by explicit `install` calls."""
